# shellcheck shell=bash
# A registry for plugins: Debian's docker-registry, which asks for a password.

# Before the engine starts, which is told of it.
registry_server() {
    local dir=$work/registry
    free_port registry_port
    mkdir -p "$dir/data"
    "$PYTHON" -W ignore - >"$dir/htpasswd" <<'PYTHON'
import crypt, os
print("robot:" + crypt.crypt(os.environ["GOOD_PASSWORD"], crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))
PYTHON
    cat >"$dir/config.yml" <<YAML
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: $dir/data } }
http: { addr: "127.0.0.1:$registry_port" }
auth: { htpasswd: { realm: plugins, path: $dir/htpasswd } }
YAML
    start registry docker-registry serve "$dir/config.yml"
    await registry "$registry_port"
}

# A blob or manifest goes up as `oras` and `wkg` send it.
registry_ask() { curl -fsS -u "robot:$GOOD_PASSWORD" "$@"; }
registry_blob() {
    local digest place
    digest=sha256:$(sha256sum "$1" | cut -d' ' -f1)
    place=$(registry_ask -X POST -D - -o "$work/registry/body" "http://127.0.0.1:$registry_port/v2/team/$2/blobs/uploads/" |
        tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    registry_ask -X PUT -H 'content-type: application/octet-stream' --data-binary "@$1" -o "$work/registry/body" "$place&digest=$digest"
    printf '{"mediaType":"%s","digest":"%s","size":%d}' "$3" "$digest" "$(stat -c %s "$1")"
}

# expect_pull REFERENCE TEXT: what `plugin pull` says.
expect_pull() {
    local output
    output=$(BELLWETHER_URL=$engine_url BELLWETHER_TOKEN=$token "$BIN" plugin pull "$1" --name pulled 2>&1) || true
    if [[ $output == *"$2"* && $output != *"$GOOD_PASSWORD"* ]]; then
        passed=$((passed + 1))
        printf 'ok    %-16s %s\n' registry "${output##*$'\n'}"
    else
        failed=$((failed + 1))
        printf 'WRONG %-16s %s\n      expected "%s"\n' registry "$1" "$2"
        sed 's/^/      /' <<<"$output"
    fi
}

test_registry() {
    local dir=$work/registry config layer at=127.0.0.1:$registry_port/team/noop digest
    printf '{"created":"2026-01-01T00:00:00Z","architecture":"wasm","os":"wasip2","layerDigests":[]}' >"$dir/config.json"
    config=$(registry_blob "$dir/config.json" noop application/vnd.wasm.config.v0+json)
    layer=$(registry_blob dist/testing/noop.wasm noop application/wasm)
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' "$config" "$layer" >"$dir/manifest.json"
    registry_ask -X PUT -H 'content-type: application/vnd.oci.image.manifest.v1+json' --data-binary "@$dir/manifest.json" \
        -o "$dir/body" "http://127.0.0.1:$registry_port/v2/team/noop/manifests/1.0.0"
    digest=sha256:$(sha256sum "$dir/manifest.json" | cut -d' ' -f1)
    expect_pull "$at:1.0.0" 'pulled 0.1.0 (probe) is there'
    expect_pull "$at@$digest" 'pulled 0.1.0 (probe) is there'
    expect_pull "$at:2.0.0" 'the registry has no'
    expect_pull "$at@sha256:$(printf '0%.0s' {1..64})" 'the registry has no'
    expect_pull "127.0.0.1:$closed/team/tcp:1.0.0" 'is not listed'
    # What came is the plugin that was pushed.
    secret= expect_login pulled OK 'nothing to do' - '{}'
}
