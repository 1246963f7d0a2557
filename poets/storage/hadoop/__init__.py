"""HDFS by two clients, behind one interface.

    core-site.xml, hdfs-site.xml ─> conf ─> url ─> native   hdfs://, viewfs://
                                                   web      webhdfs://, swebhdfs://

What a Java class of the server means is told in one place, `errors`.
"""
