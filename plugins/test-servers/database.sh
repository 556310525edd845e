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
    redis-cli -p "$port" acl setuser probe on ">$secret" '+info' '+ping' >/dev/null
    redis-cli -p "$port" acl setuser pinger on ">$secret" '+ping' >/dev/null
    redis-cli -p "$port" config set requirepass "$secret" >/dev/null
    expect redis OK 'asks for a password' latency_ms "{\"port\":$port}"
    expect redis UNKNOWN 'INFO is not readable' - "{\"port\":$port,\"role\":\"master\"}"
    local good='"password_secret":"good"' wrong='"password_secret":"wrong"'
    expect_login redis OK ', master' connected_replicas=1 "{\"port\":$port,$good,\"role\":\"master\"}"
    expect_login redis OK ', master' used_memory_bytes "{\"port\":$port,\"user\":\"probe\",$good,\"min_replicas\":1}"
    expect_login redis OK ', master' cert_days "{\"port\":$tls,\"tls\":true,\"server_name\":\"localhost\",$good,\"clients_critical\":100}"
    expect_login redis CRITICAL 'refuses the login: WRONGPASS' - "{\"port\":$port,$wrong}"
    expect_login redis CRITICAL 'refuses the login: WRONGPASS' - "{\"port\":$port,\"user\":\"nobody\",$good}"
    expect_login redis UNKNOWN 'INFO is not readable for this user' - "{\"port\":$port,\"user\":\"pinger\",$good}"
    expect_login redis 'FAULT (config)' 'expected password_secret with user' - "{\"port\":$port,\"user\":\"probe\"}"
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
host all locked,scram 127.0.0.1/32 scram-sha-256
host all md5 127.0.0.1/32 md5
hostssl all clear 127.0.0.1/32 password
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
    (
        echo "SET password_encryption = 'scram-sha-256';"
        echo "CREATE ROLE scram LOGIN PASSWORD '$secret'; CREATE ROLE clear LOGIN PASSWORD '$secret';"
        echo "SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN PASSWORD '$secret';"
    ) | psql -q -h 127.0.0.1 -p "$port" -U bellwether postgres
    local role require='"tls":"require","server_name":"localhost"' good='"password_secret":"good"'
    for role in scram md5 clear; do
        expect_login postgresql OK 'ready, primary' connections_percent "{$base,\"user\":\"$role\",$good,$require}"
        expect_login postgresql CRITICAL 'refuses the login: password authentication failed' ready=0 "{$base,\"user\":\"$role\",\"password_secret\":\"wrong\",$require}"
    done
    expect_login postgresql OK 'value 7' value=7 "{$base,\"user\":\"scram\",$good,\"query\":\"SELECT 7\",\"connections_critical_percent\":99}"
    expect_login postgresql WARNING 'percent of max_connections' connections "{$base,\"user\":\"scram\",$good,\"connections_warn_percent\":0}"
    expect_login postgresql CRITICAL 'standbys 0, below 1' replicas=0 "{$base,\"user\":\"scram\",$good,\"min_replicas\":1}"
    expect_login postgresql OK 'ready, primary' - "{$base,\"user\":\"md5\",$good}"
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
    test_standby "$port"
    stop postgresql
    expect postgresql CRITICAL 'connection refused' - "{$base}"
    wrong_servers postgresql
}

# test_standby PORT: a standby of that primary, which then loses it.
test_standby() {
    local port dir=$work/postgresql-standby settings=()
    free_port port
    mkdir -p "$dir"
    [[ $(id -u) -ne 0 ]] || chown postgres "$dir"
    as_user postgres "$POSTGRES_BIN/pg_basebackup" -D "$dir/data" -R -X stream -c fast -h 127.0.0.1 -p "$1" -U bellwether
    settings=(-c listen_addresses=127.0.0.1 -c ssl=off -c wal_retrieve_retry_interval=100ms)
    # shellcheck disable=SC2046
    start standby setpriv $([[ $(id -u) -ne 0 ]] || echo --reuid=postgres --regid=postgres --init-groups) \
        "$POSTGRES_BIN/postgres" -D "$dir/data" -k "$dir" -p "$port" -F "${settings[@]}"
    await standby "$port"
    for _ in {1..100}; do "$POSTGRES_BIN/pg_isready" -q -h 127.0.0.1 -p "$port" && break; sleep 0.1; done
    for _ in {1..100}; do
        [[ $(psql -qtA -h 127.0.0.1 -p "$1" -U bellwether postgres -c "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == 1 ]] && break
        sleep 0.1
    done
    psql -q -h 127.0.0.1 -p "$1" -U bellwether postgres -c 'CREATE TABLE replicated ()'
    local lsn
    lsn=$(psql -qtA -h 127.0.0.1 -p "$1" -U bellwether postgres -c 'SELECT pg_current_wal_lsn()')
    for _ in {1..100}; do
        [[ $(psql -qtA -h 127.0.0.1 -p "$port" -U bellwether postgres -c "SELECT pg_last_wal_replay_lsn() >= '$lsn'") == t ]] && break
        sleep 0.1
    done
    local base="\"port\":$port,\"database\":\"postgres\",\"user\":\"scram\",\"password_secret\":\"good\""
    expect_login postgresql OK 'ready, standby' replication_lag_s=0 "{$base,\"role\":\"standby\",\"lag_critical_s\":5}"
    expect postgresql OK 'ready, primary' replication_lag_bytes "{\"port\":$1,\"database\":\"postgres\",\"min_replicas\":1}"
    expect_login postgresql OK 'ready, primary' replicas=1 "{\"port\":$1,\"database\":\"postgres\",\"user\":\"scram\",\"password_secret\":\"good\"}"
    stop standby
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
    cat >"$dir/init.sql" <<SQL
CREATE USER IF NOT EXISTS 'bellwether'@'127.0.0.1';
CREATE USER IF NOT EXISTS 'native'@'127.0.0.1' IDENTIFIED BY '$secret';
GRANT SLAVE MONITOR ON *.* TO 'native'@'127.0.0.1';
CREATE USER IF NOT EXISTS 'weak'@'127.0.0.1' IDENTIFIED BY '$secret';
SQL
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
    local good='"user":"native","password_secret":"good"'
    expect_login mysql OK ' ready, connections' connections_percent "{\"port\":$port,$good}"
    expect_login mysql OK ' ready, ' cert_days "{\"port\":$port,$good,\"tls\":\"require\",\"server_name\":\"localhost\",\"connections_critical_percent\":99}"
    expect_login mysql CRITICAL 'refuses the login: Access denied' ready=0 "{\"port\":$port,\"user\":\"native\",\"password_secret\":\"wrong\"}"
    expect_login mysql WARNING 'percent of max_connections' connections_percent "{\"port\":$port,$good,\"connections_warn_percent\":0}"
    expect_login mysql OK 'value 7' value=7 "{\"port\":$port,$good,\"query\":\"SELECT 7 UNION ALL SELECT 8\"}"
    expect_login mysql CRITICAL 'value 7, above 6' rows=1 "{\"port\":$port,$good,\"query\":\"SELECT 7\",\"critical_above\":6}"
    expect_login mysql UNKNOWN 'found NULL' - "{\"port\":$port,$good,\"query\":\"SELECT NULL\"}"
    expect_login mysql CRITICAL 'the query failed' - "{\"port\":$port,$good,\"query\":\"CREATE TABLE mysql.t (a int)\"}"
    TIMEOUT=1s expect_login mysql CRITICAL '' - "{\"port\":$port,$good,\"query\":\"SELECT SLEEP(30)\"}"
    expect_login mysql CRITICAL 'expected a replica' - "{\"port\":$port,$good,\"replica\":true}"
    expect_login mysql UNKNOWN "the replica's state is not readable" - "{\"port\":$port,\"user\":\"weak\",\"password_secret\":\"good\",\"replica\":true}"
    expect mysql CRITICAL 'expected version "9."' - "{\"port\":$port,\"expect_version\":\"9.\"}"
    stop mysql
    expect mysql CRITICAL 'connection refused' - "{\"port\":$port}"
    wrong_servers mysql
}
