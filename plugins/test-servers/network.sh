# shellcheck shell=bash
# TLS, SSH, MQTT, WebSocket and HTTP.

test_tls_certificate() {
    local good bad ssh
    free_port good; free_port bad
    start tls openssl s_server -accept "127.0.0.1:$good" -cert "$work/cert.pem" -key "$work/key.pem" -quiet -www
    start tls-other openssl s_server -accept "127.0.0.1:$bad" -cert "$work/other.pem" -key "$work/other.key" -quiet -www
    await tls "$good"
    await tls-other "$bad"
    expect tls-certificate OK 'localhost: 30' trusted=1 "{\"port\":$good,\"names\":[\"localhost\",\"127.0.0.1\"],\"issuer\":\"test ca\"}"
    expect tls-certificate WARNING 'expires in' validity_days=30 "{\"port\":$good,\"warn_days\":60}"
    expect tls-certificate CRITICAL 'expires in' - "{\"port\":$good,\"critical_days\":60}"
    expect tls-certificate CRITICAL 'not valid for www.test' - "{\"port\":$good,\"names\":[\"www.test\"]}"
    expect tls-certificate CRITICAL 'not trusted' trusted=0 "{\"port\":$good,\"server_name\":\"elsewhere.test\"}"
    expect tls-certificate CRITICAL 'not trusted' cert_days "{\"port\":$bad}"
    expect tls-certificate WARNING 'expires in' cert_days "{\"port\":$bad,\"verify\":false,\"critical_days\":1}"
    expect tls-certificate CRITICAL 'expected an SMTP greeting' - "{\"port\":$noise,\"starttls\":\"smtp\"}"
    stop tls
    expect tls-certificate CRITICAL 'connection refused' - "{\"port\":$good}"
    wrong_servers tls-certificate
    wrong_servers tls-certificate ',"starttls":"imap"'
}

test_ssh() {
    local port dir=$work/ssh
    free_port port
    mkdir -p "$dir"
    [[ $(id -u) -ne 0 ]] || mkdir -p /run/sshd
    ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
    printf '%s\n' "Port $port" 'ListenAddress 127.0.0.1' "HostKey $dir/key" 'PidFile none' 'UsePAM no' >"$dir/config"
    start ssh "$(command -v sshd)" -D -e -f "$dir/config"
    await ssh "$port"
    expect ssh OK 'SSH 2.0 OpenSSH_' algorithms "{\"port\":$port,\"software_regex\":\"^OpenSSH\",\"require_algorithms\":[\"ssh-ed25519\"]}"
    expect ssh OK 'SSH 2.0 OpenSSH_' first_byte_ms "{\"port\":$port,\"algorithms\":false}"
    expect ssh WARNING 'offers ssh-ed25519' - "{\"port\":$port,\"forbid_algorithms\":[\"ssh-ed*\"]}"
    expect ssh CRITICAL 'does not offer ssh-dss' - "{\"port\":$port,\"require_algorithms\":[\"ssh-dss\"]}"
    expect ssh CRITICAL 'expected software that matches' - "{\"port\":$port,\"software_regex\":\"^dropbear\"}"
    # One wrong server for all: each says what it expected and what it found.
    local plugin
    for plugin in smtp redis postgresql mysql mqtt; do
        expect "$plugin" CRITICAL '' - "{\"port\":$port}"
    done
    expect smtp CRITICAL 'expected an SMTP greeting (220), found "SSH-2.0-' - "{\"port\":$port}"
    expect redis CRITICAL 'expected an answer to PING (+PONG), found "SSH-2.0-' - "{\"port\":$port}"
    expect mysql CRITICAL 'expected a MySQL greeting, found "SSH-2.0-' - "{\"port\":$port}"
    expect websocket CRITICAL 'found "SSH-2.0-' - "{\"url\":\"ws://127.0.0.1:$port/\"}"
    stop ssh
    expect ssh CRITICAL 'connection refused' - "{\"port\":$port}"
    wrong_servers ssh
}

test_mqtt() {
    local port closed_port tls dir=$work/mqtt
    free_port port; free_port closed_port; free_port tls
    mkdir -p "$dir"
    mosquitto_passwd -c -b "$dir/passwords" probe "$secret" 2>/dev/null
    chmod 644 "$dir/passwords"
    cat >"$dir/conf" <<CONF
per_listener_settings true
listener $port 127.0.0.1
allow_anonymous true
listener $closed_port 127.0.0.1
allow_anonymous false
password_file $dir/passwords
listener $tls 127.0.0.1
allow_anonymous true
certfile $work/cert.pem
keyfile $work/key.pem
CONF
    start mqtt mosquitto -c "$dir/conf"
    await mqtt "$port" "$closed_port" "$tls"
    local version
    for version in 3.1.1 5; do
        expect mqtt OK "MQTT $version broker ready" accepted=1 "{\"port\":$port,\"version\":\"$version\"}"
        expect mqtt OK 'round trip in' round_trip_ms "{\"port\":$port,\"version\":\"$version\",\"round_trip_topic\":\"test/$version\"}"
        expect mqtt OK 'asks for a login' accepted=0 "{\"port\":$closed_port,\"version\":\"$version\"}"
    done
    for version in 3.1.1 5; do
        expect_login mqtt OK 'round trip in' accepted=1 "{\"port\":$closed_port,\"version\":\"$version\",\"user\":\"probe\",\"password_secret\":\"good\",\"round_trip_topic\":\"test/$version\"}"
        expect_login mqtt CRITICAL 'refuses the login' accepted=0 "{\"port\":$closed_port,\"version\":\"$version\",\"user\":\"probe\",\"password_secret\":\"wrong\"}"
    done
    expect mqtt UNKNOWN 'no round trip without a login' - "{\"port\":$closed_port,\"round_trip_topic\":\"test\"}"
    expect mqtt OK 'round trip in' cert_days "{\"port\":$tls,\"tls\":true,\"round_trip_topic\":\"test\"}"
    expect mqtt CRITICAL 'TLS failed' - "{\"port\":$tls,\"tls\":true,\"server_name\":\"elsewhere.test\"}"
    stop mqtt
    expect mqtt CRITICAL 'connection refused' - "{\"port\":$port}"
    wrong_servers mqtt
}

test_websocket() {
    local port tls web
    free_port port; free_port tls; free_port web
    start websocket "$PYTHON" test-servers/echo.py "$port" "$tls" "$work/both.pem"
    start web "$PYTHON" test-servers/web.py "$web"
    await websocket "$port" "$tls"
    await web "$web"
    expect websocket OK 'WebSocket open, answer in' round_trip_ms "{\"url\":\"ws://127.0.0.1:$port/\"}"
    expect websocket OK 'WebSocket open' cert_days "{\"url\":\"wss://127.0.0.1:$tls/a?b=c\",\"server_name\":\"localhost\"}"
    expect websocket OK 'WebSocket open, answer in' round_trip_ms "{\"url\":\"ws://127.0.0.1:$port\",\"subprotocols\":[\"chat\"],\"send\":\"hello\",\"expect\":\"ell\"}"
    TIMEOUT=1s expect websocket CRITICAL 'expected a message with "bye", found "hello"' - "{\"url\":\"ws://127.0.0.1:$port\",\"send\":\"hello\",\"expect\":\"bye\"}"
    expect websocket CRITICAL 'expected Sec-WebSocket-Protocol: one of other' - "{\"url\":\"ws://127.0.0.1:$port\",\"subprotocols\":[\"other\"]}"
    expect websocket CRITICAL 'expected 101 Switching Protocols, found "HTTP/1.' - "{\"url\":\"ws://127.0.0.1:$web/\"}"
    stop websocket
    stop web
    expect websocket CRITICAL 'connection refused' - "{\"url\":\"ws://127.0.0.1:$port/\"}"
    TIMEOUT=1s expect websocket CRITICAL 'timed out' - "{\"url\":\"ws://127.0.0.1:$silence/\"}"
    expect websocket CRITICAL 'expected an HTTP answer' - "{\"url\":\"ws://127.0.0.1:$endless/\"}"
    expect websocket CRITICAL '' - "{\"url\":\"ws://127.0.0.1:$noise/\"}"
}

test_prometheus() {
    local port
    free_port port
    start web "$PYTHON" test-servers/web.py "$port"
    await web "$port"
    local url="\"url\":\"http://127.0.0.1:$port/metrics\""
    expect prometheus OK '5 samples' samples=5 "{$url}"
    expect prometheus OK 'up = 1' up=1 "{$url,\"rules\":[{\"metric\":\"up\",\"critical_below\":1}]}"
    expect prometheus WARNING 'free 25, below 30' free=25 "{$url,\"rules\":[{\"name\":\"free\",\"metric\":\"node_filesystem_avail_bytes\",\"divide_by\":{\"metric\":\"node_filesystem_size_bytes\"},\"times\":100,\"warn_below\":30}]}"
    expect prometheus CRITICAL 'errors 3, above 2' errors=3 "{$url,\"rules\":[{\"name\":\"errors\",\"metric\":\"http_requests_total\",\"labels_regex\":{\"code\":\"5..\"},\"divide_by\":{\"metric\":\"http_requests_total\"},\"times\":100,\"critical_above\":2}]}"
    expect prometheus OK '' samples "{$url,\"rules\":[{\"metric\":\"http_requests_total\",\"rate\":true}]}"
    expect prometheus UNKNOWN 'no sample of gone fits' - "{$url,\"rules\":[{\"metric\":\"gone\"}]}"
    expect prometheus CRITICAL "expected metrics in Prometheus' text format" - "{\"url\":\"http://127.0.0.1:$port/\"}"
    stop web
    expect prometheus CRITICAL 'connection refused' - "{$url}"
    expect prometheus CRITICAL '' - "{\"url\":\"http://127.0.0.1:$noise/\"}"
    TIMEOUT=1s expect prometheus CRITICAL 'timed out' - "{\"url\":\"http://127.0.0.1:$silence/\"}"
}

test_http_scenario() {
    local port
    free_port port
    start web "$PYTHON" test-servers/web.py "$port"
    await web "$port"
    local base="http://127.0.0.1:$port"
    local login="{\"name\":\"login\",\"method\":\"POST\",\"url\":\"$base/login\",\"json_body\":{\"user\":\"probe\"},\"extract\":{\"token\":{\"json\":\"/token\"},\"id\":{\"regex\":\"\\\"id\\\": ([0-9]+)\"}}}"
    local order="{\"name\":\"order\",\"url\":\"$base/orders/\${id}\",\"headers\":{\"Authorization\":\"Bearer \${token}\"},\"json\":[{\"pointer\":\"/id\",\"equals\":\"42\"}]}"
    expect http-scenario OK '2 of 2 steps' step_order_ms "{\"steps\":[$login,$order]}"
    expect http-scenario CRITICAL 'step 2 (order): HTTP 401, expected 200-399' steps_ok=1 "{\"cookies\":false,\"steps\":[$login,$order]}"
    expect http-scenario CRITICAL 'step 1: HTTP 200, the body does not match bye' - "{\"steps\":[{\"url\":\"$base/\",\"body_regex\":\"bye\"}]}"
    expect http-scenario 'FAULT (config)' 'expected a variable of this or an earlier step (run), found ${id}' - "{\"steps\":[$order]}"
    stop web
    expect http-scenario CRITICAL 'step 1 (login): connection refused' - "{\"steps\":[$login,$order]}"
    expect http-scenario CRITICAL 'step 1' - "{\"steps\":[{\"url\":\"http://127.0.0.1:$noise/\"}]}"
}

test_snmp() {
    local port dir=$work/snmp
    free_port port
    mkdir -p "$dir"
    cat >"$dir/conf" <<CONF
agentaddress udp:127.0.0.1:$port
rocommunity public 127.0.0.1
rocommunity $secret 127.0.0.1
sysName probed.test
sysDescr a test
CONF
    start snmp env SNMP_PERSISTENT_DIR="$dir" snmpd -f -Lo -C -c "$dir/conf" -I -smux
    local base="\"port\":$port" up='"oid":"1.3.6.1.2.1.1.3.0","name":"uptime"' name='"oid":".1.3.6.1.2.1.1.5.0","name":"system"'
    # Nothing on UDP tells when it listens.
    for _ in {1..100}; do
        "$BIN" plugin run dist/snmp.wasm --allow 'udp:127.0.0.1:*' --timeout 1s --config "{$base,\"values\":[{$up}]}" >/dev/null 2>&1 && break
    done
    expect snmp OK 'system probed.test' uptime "{$base,\"values\":[{$name,\"equals\":\"probed.test\"},{$up,\"unit\":\"s\"}]}"
    expect snmp OK 'system probed.test' latency_ms "{$base,\"version\":\"1\",\"values\":[{$name}]}"
    expect snmp CRITICAL 'system is probed.test, expected other' - "{$base,\"values\":[{$name,\"equals\":\"other\"}]}"
    expect snmp WARNING ', below 1000000' uptime "{$base,\"values\":[{$up,\"warn_below\":1000000}]}"
    # ifInOctets of the loopback, a counter of 32 bits, and ifHCInOctets.
    expect snmp OK 'the agent answers' uptime_s "{$base,\"values\":[{\"oid\":\"1.3.6.1.2.1.2.2.1.10.1\",\"name\":\"in32\",\"rate\":true},{\"oid\":\"1.3.6.1.2.1.31.1.1.1.6.1\",\"name\":\"in64\",\"rate\":true}]}"
    expect snmp UNKNOWN 'gone: no such' - "{$base,\"values\":[{\"oid\":\"1.3.6.1.2.1.1.99.0\",\"name\":\"gone\"}]}"
    expect snmp CRITICAL 'the agent refuses: noSuchName, status 2 (1.3.6.1.2.1.1.99.0)' - "{$base,\"version\":\"1\",\"values\":[{\"oid\":\"1.3.6.1.2.1.1.99.0\",\"name\":\"gone\"}]}"
    expect_login snmp OK 'system probed.test' - "{$base,\"community_secret\":\"good\",\"values\":[{$name}]}"
    TIMEOUT=1s expect_login snmp CRITICAL 'it does not know the community' - "{$base,\"community_secret\":\"wrong\",\"values\":[{$name}]}"
    stop snmp
    TIMEOUT=1s expect snmp CRITICAL '' - "{$base,\"values\":[{$up}]}"
}

test_grpc_health() {
    local plain tls bare
    free_port plain; free_port tls; free_port bare
    start grpc "$PYTHON" test-servers/health.py "$plain" "$tls" "$bare" "$work/cert.pem" "$work/key.pem"
    await grpc "$plain" "$tls" "$bare"
    expect grpc-health OK 'the server is SERVING' serving=1 "{\"port\":$plain}"
    expect grpc-health OK 'shop.Cart is SERVING' first_byte_ms "{\"port\":$plain,\"service\":\"shop.Cart\"}"
    expect grpc-health OK 'the server is SERVING' cert_days "{\"port\":$tls,\"tls\":true,\"server_name\":\"localhost\"}"
    expect grpc-health CRITICAL 'shop.Pay is NOT_SERVING' serving=0 "{\"port\":$plain,\"service\":\"shop.Pay\"}"
    expect grpc-health CRITICAL 'shop.Gone is not known to the server: no such service, 100%' - "{\"port\":$plain,\"service\":\"shop.Gone\"}"
    expect grpc-health UNKNOWN 'the server has no health service' - "{\"port\":$bare}"
    TIMEOUT=1s expect grpc-health CRITICAL '' - "{\"port\":$plain,\"service\":\"shop.Slow\"}"
    expect grpc-health CRITICAL 'TLS failed' - "{\"port\":$tls,\"tls\":true,\"server_name\":\"elsewhere.test\"}"
    TIMEOUT=1s expect grpc-health CRITICAL '' - "{\"port\":$tls}"
    stop grpc
    local web
    free_port web
    start web "$PYTHON" test-servers/web.py "$web"
    await web "$web"
    TIMEOUT=1s expect grpc-health CRITICAL '' - "{\"port\":$web}"
    stop web
    wrong_servers grpc-health
}
