"""Python clients: atlassian-jwt signs calls of the Connect API, jira calls the dynamic webhooks API."""
import json
import os
import urllib.request

import atlassian_jwt
import jira

SERVER = os.environ["SWITCHYARD_SERVER"]
MODULES = "/rest/atlassian-connect/1/app/module/dynamic"
APP, TENANT, SECRET = "com.example.python", "python-tenant", "secret-python-0123456789abcdef01234567"


def call(method, path, authorization, body=None):
    request = urllib.request.Request(SERVER + path, method=method, data=body and json.dumps(body).encode())
    request.add_header("Authorization", authorization)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=20) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def admin(method, path, body):
    return call(method, "/admin/v1" + path, f"Bearer {os.environ['SWITCHYARD_TOKEN']}", body)


def signed(method, path, body=None):
    """The library names the tenant as issuer and audience."""
    return call(method, path, "JWT " + atlassian_jwt.encode_token(method, path, TENANT, SECRET), body)


admin("PUT", f"/apps/{APP}", {"kind": "connect", "baseUrl": "http://127.0.0.1:9", "scopes": ["READ"]})
admin("PUT", "/installations/python", {"app": APP, "cloudId": "site-python", "product": "jira",
                                       "clientKey": TENANT, "sharedSecret": SECRET})
hooks = [{"key": key, "event": "jira:issue_created", "url": "/h"} for key in ("a-b", "c")]
signed("POST", MODULES, {"webhooks": hooks})
assert signed("GET", MODULES) == {"webhooks": hooks}
signed("DELETE", MODULES + "?moduleKey=c&moduleKey=z%C3%A9&%C3%A9=1&A=2")
assert signed("GET", MODULES) == {"webhooks": hooks[:1]}
print("atlassian-jwt: ok")

client = jira.JIRA(SERVER, get_server_info=False, max_retries=0, options={"rest_api_version": "3"},
                   jwt={"secret": SECRET, "payload": {"iss": APP}})
page = client._get_json("webhook", {"startAt": 0, "maxResults": 5})
assert page["total"] == 0, page
print("jira: ok")
