"""Kerberos: the principal of this process, and its keytab, tickets and tokens.

    DC/OS task, flags, environment
        │
        ▼
    login.current_login() ──> private folder, 0700:  krb5.conf  ccache.<process>
        │                     KRB5_CONFIG  KRB5CCNAME  KRB5_CLIENT_KTNAME
        ▼
    hdfs-native, GSSAPI                  libkrb5: tickets, and why there is none
                                         keytab, krb5_conf: contents of the files

Only MIT's own library reads keys; nothing here returns, prints or stores one.
"""
