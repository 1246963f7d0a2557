"""HDFS through two clients, behind one interface.

    core-site.xml, hdfs-site.xml ─> conf ─> url ─> native   hdfs://, viewfs://
                                                   web      webhdfs://, swebhdfs://

Only `errors` knows what the server's Java exceptions mean.
"""
