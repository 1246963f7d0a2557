"""How object stores are found: variables of the environment, and URLs."""

import pytest

from poets.errors import ConfigError, StorageError
from poets.storage import open_storage
from poets.storage.objects.proxy import proxy_of
from poets.storage.objects.s3_settings import S3Settings, s3_settings

pytest_plugins = ["tests.gate"]

SECRET = "wJalrXUtnFEMI/K7MDENG"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": SECRET}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, S3Settings()),
        ({"S3_VERIFY_SSL": "true"}, S3Settings()),
        (KEYS, S3Settings("AKIA", SECRET)),
        ({**KEYS, "AWS_SESSION_TOKEN": "t"}, S3Settings("AKIA", SECRET, "t")),
        (
            {"S3_ENDPOINT": "minio:9000", "S3_USE_HTTPS": "0"},
            S3Settings(address="minio:9000", uses_https=False, region="us-east-1"),
        ),
        (
            {"S3_ENDPOINT": "[::1]:9000", "S3_USE_HTTPS": "true"},
            S3Settings(address="[::1]:9000", region="us-east-1"),
        ),
        (
            {"S3_ENDPOINT": "minio", "S3_VERIFY_SSL": "0", "S3_REGION": "eu"},
            S3Settings(address="minio", verifies=False, region="eu"),
        ),
        (
            {"AWS_ENDPOINT_URL": "http://minio:9000/", "S3_ENDPOINT": "minio:9000"},
            S3Settings(address="minio:9000", uses_https=False, region="us-east-1"),
        ),
        (
            {"AWS_ENDPOINT_URL": "http://sqs", "AWS_ENDPOINT_URL_S3": "https://s3"},
            S3Settings(address="s3", region="us-east-1"),
        ),
        (
            {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"},
            S3Settings(region="eu-west-1"),
        ),
        ({"AWS_ENDPOINT_URL": "", "S3_REGION": ""}, S3Settings()),
    ],
)
def test_the_environment_says_where_the_store_is(store_settings, variables, expected):
    store_settings(**variables)
    assert s3_settings() == expected


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "AKIA"},
            "AWS_ACCESS_KEY_ID without AWS_SECRET_ACCESS_KEY; set all of them",
        ),
        (
            {"AWS_SESSION_TOKEN": SECRET},
            "AWS_SESSION_TOKEN without AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
            "set all of them",
        ),
        (
            {**KEYS, "AWS_SECRET_ACCESS_KEY": SECRET + "\n"},
            "AWS_SECRET_ACCESS_KEY has a blank or a line break in it; take it out",
        ),
        (
            {"S3_ENDPOINT": "http://minio:9000"},
            "S3_ENDPOINT='http://minio:9000' has a scheme; write 'minio:9000', and "
            "S3_USE_HTTPS=0 or 1",
        ),
        (
            {"S3_ENDPOINT": "minio:9000/bucket"},
            "S3_ENDPOINT='minio:9000/bucket' is not an address; write host:port",
        ),
        (
            {"AWS_ENDPOINT_URL": "minio:9000"},
            "AWS_ENDPOINT_URL='minio:9000' is not an address; write http://host:port "
            "or https://host",
        ),
        (
            {"AWS_ENDPOINT_URL": f"http://me:{SECRET}@minio:9000"},
            "AWS_ENDPOINT_URL='***@minio:9000' is not an address; write "
            "http://host:port or https://host",
        ),
        (
            {"AWS_ENDPOINT_URL": "http://minio", "S3_ENDPOINT": "other"},
            "AWS_ENDPOINT_URL names 'minio' and S3_ENDPOINT names 'other'; unset one",
        ),
        (
            {"AWS_ENDPOINT_URL": "http://minio", "S3_USE_HTTPS": "1"},
            "AWS_ENDPOINT_URL begins with http and S3_USE_HTTPS=1; unset one",
        ),
        ({"S3_USE_HTTPS": "yes"}, "S3_USE_HTTPS='yes'; write 0 or 1"),
        ({"S3_VERIFY_SSL": "2"}, "S3_VERIFY_SSL='2'; write 0 or 1"),
        (
            {"AWS_REGION": "eu", "S3_REGION": "us"},
            "AWS_REGION='eu' and S3_REGION='us' differ; unset all but one",
        ),
        ({"AWS_CA_BUNDLE": "/no/file"}, "AWS_CA_BUNDLE='/no/file' is not a file"),
    ],
)
def test_what_contradicts_itself_is_reported(store_settings, variables, problem):
    store_settings(**variables)
    with pytest.raises(ConfigError) as caught:
        open_storage("s3://bucket/key")
    assert str(caught.value) == f"cannot use S3: {problem}"
    assert SECRET not in str(caught.value)


def test_all_problems_are_reported_at_once(store_settings):
    store_settings(
        AWS_ACCESS_KEY_ID="AKIA", S3_USE_HTTPS="maybe", S3_ENDPOINT="http://m"
    )
    with pytest.raises(ConfigError, match="cannot use S3: 3 problems"):
        s3_settings()


def test_a_secret_is_in_no_text_of_the_settings():
    settings = S3Settings("AKIA", SECRET, SECRET + "token")
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("s3://", "cannot open 's3://': found no bucket; name s3://bucket/key"),
        (
            "s3://b/a//c",
            "cannot open 's3://b/a//c': found an empty folder name; name "
            "s3://bucket/key",
        ),
        (
            "s3://b/a\0",
            "cannot open 's3://b/a\\x00': found a NUL character; name s3://bucket/key",
        ),
        (
            "gs://b/\udce9",
            "cannot open 'gs://b/\\udce9': found a character that is not valid "
            "Unicode; name gs://bucket/key",
        ),
        (
            f"s3://AKIA:{SECRET}@b/c",
            "cannot open a URL of s3://: found ':' or '@' where the bucket's name "
            "ends; keys and addresses do not belong in URLs, set the variables of the "
            "environment",
        ),
    ],
)
def test_what_names_no_object_is_reported(store_settings, url, text):
    with pytest.raises(StorageError) as caught:
        open_storage(url)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (
            {"STORAGE_EMULATOR_HOST": "http://host/path"},
            "STORAGE_EMULATOR_HOST='http://host/path' is not an address; write "
            "http://host:port",
        ),
        (
            {"GOOGLE_APPLICATION_CREDENTIALS": "/no/file"},
            "GOOGLE_APPLICATION_CREDENTIALS='/no/file': No such file or directory; "
            "name the JSON file of a service account",
        ),
    ],
)
def test_settings_of_google_that_cannot_be_are_reported(
    store_settings, variables, problem
):
    store_settings(**variables)
    with pytest.raises(ConfigError) as caught:
        open_storage("gs://bucket/key")
    assert str(caught.value) == f"cannot use Google Cloud Storage: {problem}"


@pytest.mark.parametrize("content", ["", "[]", "{}", f'{{"private_key": "{SECRET}"'])
def test_a_file_that_holds_no_credentials_is_reported(
    store_settings, tmp_path, content
):
    path = tmp_path / "key.json"
    path.write_text(content)
    store_settings(GOOGLE_APPLICATION_CREDENTIALS=str(path))
    with pytest.raises(
        ConfigError, match="the JSON file of a service account"
    ) as caught:
        open_storage("gs://bucket/key")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true"},
        {"STORAGE_EMULATOR_HOST": "localhost:9023"},
        {"STORAGE_EMULATOR_HOST": "http://localhost:9023/"},
    ],
)
def test_google_may_be_asked_by_nobody_in_particular(store_settings, variables):
    store_settings(**variables)
    filesystem, path = open_storage("gs://bucket/a b#c?d%41/")
    assert (filesystem.type_name, path) == ("py::gs", "bucket/a b#c?d%41")


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({"HTTP_PROXY": "http://p:3128"}, "http://p:3128"),
        ({"HTTP_PROXY": "p:3128"}, "http://p:3128"),
        ({"http_proxy": "http://l:1", "HTTP_PROXY": "http://u:2"}, "http://l:1"),
        ({"ALL_PROXY": "http://p:3128"}, "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:3128"}, ""),
        ({"HTTP_PROXY": "http://p:3128", "NO_PROXY": "other, .example.com"}, ""),
        ({"HTTP_PROXY": "http://p:3128", "NO_PROXY": "minio.example.com:9000"}, ""),
        ({"HTTP_PROXY": "http://p:3128", "NO_PROXY": "*"}, ""),
        ({"HTTP_PROXY": "http://p:3128", "no_proxy": "example.org"}, "http://p:3128"),
    ],
)
def test_the_proxy_of_a_store_is_in_the_environment(
    store_settings, monkeypatch, variables, proxy
):
    store_settings(AWS_ENDPOINT_URL="http://minio.example.com:9000")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert s3_settings().proxy == proxy


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (
            {"HTTPS_PROXY": "socks5://user:secret@p:1080"},
            "cannot use S3 through the proxy 'socks5://p:1080': it is not an address "
            "of an HTTP proxy; set HTTPS_PROXY and HTTP_PROXY to http://host:port, or ",
        ),
        ({"HTTPS_PROXY": "http://p:x"}, "the proxy 'http://p:x': it is not an address"),
        (
            {"HTTPS_PROXY": "http://p:1", "S3_VERIFY_SSL": "0", "AWS_REGION": "eu"},
            "S3_VERIFY_SSL=0 works without a proxy only; name the certificates by ",
        ),
        ({"HTTPS_PROXY": "http://p:1"}, "through a proxy; set AWS_REGION"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_reported(
    store_settings, monkeypatch, variables, problem
):
    store_settings()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        open_storage("s3://bucket/key")
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "is_used"),
    [("http_proxy", True), ("ALL_PROXY", True), ("HTTP_PROXY", False)],
)
def test_googles_client_finds_the_proxy_that_the_doctor_names(
    gate, gs, monkeypatch, name, is_used
):
    monkeypatch.setenv(name, f"http://{gate.address}")
    filesystem, path = open_storage("gs://no-such-bucket/a")
    with pytest.raises(FileNotFoundError):
        filesystem.get_file_info(path)
    assert bool(gate.seen) == is_used
    assert bool(proxy_of(gs, is_curl=True)) == is_used
