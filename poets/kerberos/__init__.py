"""Kerberos: who this process is, and what proves it.

    DC/OS task, flags, environment
        │
        ▼
    login.current_login() ──> private folder, 0700:  krb5.conf  ccache.<process>
        │                     KRB5_CONFIG  KRB5CCNAME  KRB5_CLIENT_KTNAME
        ▼
    hdfs-native, GSSAPI                  libkrb5: tickets, and why there are none
                                         keytab, krb5_conf: what the files hold

Keys are read by MIT's own library alone; nothing here returns, prints or stores one.
"""
