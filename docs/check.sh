#!/bin/sh
# Checks the documentation: every YAML block behind `<!-- whole configuration -->`
# loads with `bellwether plan`, and every relative link points to a file and to a
# heading that are there. Ends with "N passed, N failed".
set -eu
cd "$(dirname "$0")/.."
exec python3 - "${BELLWETHER_BIN:-target/release/bellwether}" docs <<'PYTHON'
import os, pathlib, re, subprocess, sys, tempfile

program, root = sys.argv[1], pathlib.Path(sys.argv[2])
passed = failed = 0


def verdict(ok, what, why=""):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what}\n{why}".rstrip())


def slug(heading):
    """The anchor that mdBook makes of a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    plain = re.sub(r"[`*]", "", plain).strip().lower()
    return "".join("-" if c.isspace() else c for c in plain if c.isalnum() or c in "-_ ")


def blocks(text):
    """Text outside of fences, and (line, is whole, text) of every YAML fence."""
    prose, found, fence, body, whole, start = [], [], None, [], False, 0
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(```+)(\w*)", line)
        if fence is None and mark:
            fence, kind, body, start = mark.group(1), mark.group(2), [], number
            before = next((l for l in reversed(prose) if l.strip()), "")
            whole = kind == "yaml" and before.strip() == "<!-- whole configuration -->"
        elif fence is not None and line.strip() == fence:
            if whole:
                found.append((start, "\n".join(body) + "\n"))
            fence = None
            prose.append("```")
        elif fence is not None:
            body.append(line)
        else:
            prose.append(line)
    return "\n".join(prose), found


pages = sorted(root.rglob("*.md"))
anchors = {}
for page in pages:
    prose, _ = blocks(page.read_text(encoding="utf-8"))
    anchors[page.resolve()] = {slug(h) for h in re.findall(r"^#+ +(.*)$", prose, re.M)}

for page in pages:
    prose, configurations = blocks(page.read_text(encoding="utf-8"))
    for line, text in configurations:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "bellwether.yaml")
            file.write_text(text, encoding="utf-8")
            ran = subprocess.run(
                [program, "plan", "--config", str(file)],
                capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
            )
        warned = "warning:" in ran.stdout
        verdict(ran.returncode == 0 and not warned, f"{page}:{line}", ran.stdout + ran.stderr)
    without_code = re.sub(r"`[^`\n]*`", "", prose)
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path if path else page).resolve()
        there = file.exists()
        if there and anchor and file in anchors:
            there = anchor in anchors[file]
        verdict(there, f"{page}: link to {target}")

print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
PYTHON
