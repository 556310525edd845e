# shellcheck shell=bash
# Redis, PostgreSQL and MariaDB.

test_redis() {
    local port replica tls
    free_port port; free_port replica; free_port tls
    mkdir -p "$work/redis" "$work/redis-replica"
    start redis redis-server --port "$port" --bind 127.0.0.1 --dir "$work/redis" --save '' --maxmemory 100mb \
        --tls-port "$tls" --tls-cert-file "$work/cert.pem" --tls-key-file "$work/key.pem" --tls-ca-cert-file "$work/ca.pem" --tls-auth-clients no
    start redis-replica redis-server --port "$replica" --bind 127.0.0.1 --dir "$work/redis-replica" --save '' \
        --replicaof 127.0.0.1 "$port" --repl-diskless-sync-delay 0
    await redis "$port" "$tls"
    await redis-replica "$replica"
    expect redis OK ', master' connected_clients "{\"port\":$port,\"role\":\"master\"}"
    expect redis OK ', master' cert_days "{\"port\":$tls,\"tls\":true,\"server_name\":\"localhost\"}"
    expect redis OK ', master' memory_used_percent "{\"port\":$port,\"clients_warn\":100}"
    expect redis CRITICAL 'expected a replica, found a master' - "{\"port\":$port,\"role\":\"replica\"}"
    expect redis WARNING 'above 0' used_memory_bytes "{\"port\":$port,\"clients_warn\":0}"
    for _ in {1..100}; do
        redis-cli -p "$replica" info replication | grep -q 'master_link_status:up' && break
        sleep 0.1
    done
    expect redis OK ', replica' replication_lag_s "{\"port\":$replica,\"role\":\"replica\"}"
    expect redis OK ', master' connected_replicas=1 "{\"port\":$port,\"min_replicas\":1}"
    redis-cli -p "$port" config set requirepass secret >/dev/null
    expect redis OK 'asks for a password' latency_ms "{\"port\":$port}"
    expect redis UNKNOWN 'INFO is not readable' - "{\"port\":$port,\"role\":\"master\"}"
    stop redis
    expect redis CRITICAL 'connection refused' - "{\"port\":$port}"
    for _ in {1..100}; do
        redis-cli -p "$replica" info replication | grep -q 'master_link_status:down' && break
        sleep 0.1
    done
    expect redis CRITICAL 'the link to its master is down' - "{\"port\":$replica}"
    stop redis-replica
    wrong_servers redis
}

test_postgresql() {
    local port dir=$work/postgresql
    free_port port
    mkdir -p "$dir"
    cp "$work/cert.pem" "$work/key.pem" "$dir"
    [[ $(id -u) -ne 0 ]] || chown -R postgres "$dir"
    chmod 600 "$dir/key.pem"
    as_user postgres "$POSTGRES_BIN/initdb" -D "$dir/data" -A trust -U bellwether --no-sync >"$work/initdb.log" 2>&1
    as_user postgres tee "$dir/data/pg_hba.conf" >/dev/null <<'CONF'
host all locked 127.0.0.1/32 scram-sha-256
host all stranger 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
CONF
    start postgresql setpriv $([[ $(id -u) -ne 0 ]] || echo --reuid=postgres --regid=postgres --init-groups) \
        "$POSTGRES_BIN/postgres" -D "$dir/data" -k "$dir" -p "$port" -F -c listen_addresses=127.0.0.1 \
        -c ssl=on -c ssl_cert_file="$dir/cert.pem" -c ssl_key_file="$dir/key.pem"
    await postgresql "$port"
    # The port is open before the server is ready.
    for _ in {1..100}; do "$POSTGRES_BIN/pg_isready" -q -h 127.0.0.1 -p "$port" && break; sleep 0.1; done
    local base="\"port\":$port,\"database\":\"postgres\""
    expect postgresql OK 'ready, primary' ready=1 "{$base,\"role\":\"primary\"}"
    expect postgresql OK 'ready, primary' cert_days "{$base,\"tls\":\"require\",\"server_name\":\"localhost\"}"
    expect postgresql OK 'value 42' value=42 "{$base,\"query\":\"SELECT 42, 'x' UNION ALL SELECT 43, 'y'\"}"
    expect postgresql WARNING 'value 42, above 41' rows=1 "{$base,\"query\":\"SELECT 42\",\"warn_above\":41}"
    expect postgresql CRITICAL 'read-only transaction' - "{$base,\"query\":\"CREATE TABLE t ()\"}"
    expect postgresql UNKNOWN 'found no row' - "{$base,\"query\":\"SELECT 1 WHERE false\"}"
    expect postgresql CRITICAL 'the query failed' - "{$base,\"query\":\"SELECT 1/0\"}"
    TIMEOUT=1s expect postgresql CRITICAL '' - "{$base,\"query\":\"SELECT pg_sleep(30)\"}"
    expect postgresql CRITICAL 'expected a standby' - "{$base,\"role\":\"standby\"}"
    expect postgresql OK 'asks for SCRAM-SHA-256' ready=0 "{$base,\"user\":\"locked\"}"
    expect postgresql OK 'refuses the login' ready=0 "{$base,\"user\":\"stranger\"}"
    expect postgresql UNKNOWN 'no session without a password' - "{$base,\"user\":\"locked\",\"query\":\"SELECT 1\"}"
    expect tls-certificate OK 'localhost: 30' cert_days "{\"port\":$port,\"starttls\":\"postgres\"}"
    stop postgresql
    expect postgresql CRITICAL 'connection refused' - "{$base}"
    wrong_servers postgresql
}

test_mysql() {
    local port dir=$work/mysql user=mysql
    free_port port
    mkdir -p "$dir/data"
    [[ $(id -u) -eq 0 ]] || user=$(id -un)
    cp "$work/cert.pem" "$work/key.pem" "$dir"
    [[ $(id -u) -ne 0 ]] || chown -R mysql "$dir"
    mariadb-install-db --no-defaults --user="$user" --datadir="$dir/data" --skip-test-db --auth-root-authentication-method=normal \
        >"$work/install-db.log" 2>&1
    echo "CREATE USER IF NOT EXISTS 'bellwether'@'127.0.0.1';" >"$dir/init.sql"
    start mysql mariadbd --no-defaults --user="$user" --datadir="$dir/data" --socket="$dir/socket" --pid-file="$dir/pid" \
        --port="$port" --bind-address=127.0.0.1 --skip-name-resolve --init-file="$dir/init.sql" \
        --ssl-cert="$dir/cert.pem" --ssl-key="$dir/key.pem" --ssl-ca="$work/ca.pem"
    await mysql "$port"
    expect mysql OK 'MariaDB' ready=1 "{\"port\":$port}"
    expect mysql OK ' ready, ' threads "{\"port\":$port,\"threads_critical\":100}"
    expect mysql OK ' ready, ' cert_days "{\"port\":$port,\"tls\":\"require\",\"server_name\":\"localhost\"}"
    expect mysql CRITICAL ', above 0' uptime_s "{\"port\":$port,\"threads_critical\":0}"
    expect mysql OK 'refuses the login: Access denied' ready=0 "{\"port\":$port,\"user\":\"stranger\"}"
    expect mysql UNKNOWN 'no session without a password' - "{\"port\":$port,\"user\":\"stranger\",\"require_session\":true}"
    expect mysql CRITICAL 'expected version "9."' - "{\"port\":$port,\"expect_version\":\"9.\"}"
    stop mysql
    expect mysql CRITICAL 'connection refused' - "{\"port\":$port}"
    wrong_servers mysql
}
