"""Asks a running engine. Arguments: URL, token, then

    await                      until it answers
    run PLUGIN TIMEOUT CONFIG  one run of a plugin, printed as `plugin run` does
"""

import json
import sys
import time
import urllib.error
import urllib.request

url, token, command, *rest = sys.argv[1:]


def ask(path, body=None):
    request = urllib.request.Request(f"{url}/api/v1/{path}", data=body and json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.load(answer)


if command == "await":
    for _ in range(1200):
        try:
            ask("overview")
            sys.exit(0)
        except OSError:
            time.sleep(0.1)
    sys.exit("the engine does not answer after two minutes")

plugin, timeout, config = rest
body = {"node": "local", "timeout": timeout, "config": json.loads(config)}
try:
    report = ask(f"plugins/{plugin}/dry_run", body)
except urllib.error.HTTPError as error:
    sys.exit(f"REFUSED - {error} {error.read().decode()}")
fault = report.get("fault")
state = f"FAULT ({fault['kind']})" if fault else report["state"].upper()
print(f"{state} - {report['summary']}")
if report["details"]:
    print(report["details"])
for metric in report["metrics"]:
    print(f"  {metric['name']} = {metric['value']:g}")
for line in report["log"]:
    print(f"  log {line['level']}: {line['message']}")
