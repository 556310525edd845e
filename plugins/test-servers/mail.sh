# shellcheck shell=bash
# Mail: exim and dovecot.

start_exim() {
    local dir=$work/exim
    mkdir -p "$dir/spool"
    cat >"$dir/exim.conf" <<CONF
primary_hostname = mail.test
spool_directory = $dir/spool
log_file_path = $dir/%slog
pid_file_path = $dir/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = $1 : $2
tls_on_connect_ports = $2
tls_advertise_hosts = *
tls_certificate = $work/cert.pem
tls_privatekey = $work/key.pem
acl_smtp_rcpt = recipients
keep_environment =
begin acl
recipients:
  accept local_parts = postmaster
  defer local_parts = later
         message = come back later
  deny message = no such user
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_set_id = \$auth2
  server_condition = \${if and{{eq{\$auth2}{probe}}{eq{\$auth3}{$secret}}}}
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_set_id = \$auth1
  server_condition = \${if and{{eq{\$auth1}{probe}}{eq{\$auth2}{$secret}}}}
  server_advertise_condition = \${if eq{\$sender_helo_name}{old.test}}
CONF
    [[ $(id -u) -ne 0 ]] || chown -R Debian-exim: "$dir/spool" "$dir"
    [[ $(id -u) -ne 0 ]] || chown root: "$dir/exim.conf"
    start exim exim4 -C "$dir/exim.conf" -bdf
    await exim "$1" "$2"
}

start_dovecot() {
    local dir=$work/dovecot
    mkdir -p "$dir"
    cat >"$dir/dovecot.conf" <<CONF
protocols = imap pop3
base_dir = $dir/run
log_path = $dir/log
ssl = yes
ssl_cert = <$work/cert.pem
ssl_key = <$work/key.pem
mail_location = maildir:$dir/mail/%u
passdb {
  driver = static
  args = password=$secret
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=$dir
}
service imap-login {
  chroot =
  inet_listener imap {
    address = 127.0.0.1
    port = $1
  }
  inet_listener imaps {
    address = 127.0.0.1
    port = $2
    ssl = yes
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    address = 127.0.0.1
    port = $3
  }
  inet_listener pop3s {
    address = 127.0.0.1
    port = $4
    ssl = yes
  }
}
CONF
    start dovecot dovecot -F -c "$dir/dovecot.conf"
    await dovecot "$1" "$2" "$3" "$4"
}

test_smtp() {
    local port implicit
    free_port port; free_port implicit
    start_exim "$port" "$implicit"
    expect smtp OK 'mail.test ready' extensions "{\"port\":$port,\"require\":[\"SIZE\",\"PIPELINING\"],\"expect_banner\":\"exim\"}"
    expect smtp OK 'mail.test ready' cert_days "{\"port\":$port,\"tls\":\"starttls\",\"server_name\":\"localhost\"}"
    expect smtp OK 'mail.test ready' tls_ms "{\"port\":$implicit,\"tls\":\"implicit\"}"
    expect smtp OK 'mail.test ready' latency_ms "{\"port\":$port,\"rcpt_to\":\"postmaster@mail.test\"}"
    expect smtp CRITICAL 'refused: 550 no such user' - "{\"port\":$port,\"mail_from\":\"a@mail.test\",\"rcpt_to\":\"nobody@mail.test\"}"
    expect smtp WARNING 'refused for now: 451' - "{\"port\":$port,\"rcpt_to\":\"later@mail.test\"}"
    expect smtp CRITICAL 'does not offer X-NONE' - "{\"port\":$port,\"require\":[\"X-NONE\"]}"
    expect smtp CRITICAL 'TLS failed' - "{\"port\":$port,\"tls\":\"starttls\",\"server_name\":\"elsewhere.test\"}"
    expect smtp CRITICAL '' - "{\"port\":$port,\"tls\":\"implicit\"}"
    local good='"user":"probe","password_secret":"good"' wrong='"user":"probe","password_secret":"wrong"'
    expect_login smtp OK 'mail.test ready' latency_ms "{\"port\":$port,$good,\"rcpt_to\":\"postmaster@mail.test\"}"
    expect_login smtp OK 'mail.test ready' cert_days "{\"port\":$port,$good,\"tls\":\"starttls\",\"server_name\":\"localhost\"}"
    expect_login smtp CRITICAL 'refuses the login: 535' - "{\"port\":$implicit,$wrong,\"tls\":\"implicit\"}"
    expect tls-certificate OK 'localhost: 30' cert_days "{\"port\":$port,\"starttls\":\"smtp\"}"
    TIMEOUT=1s expect ssh CRITICAL 'expected an SSH identification (SSH-2.0-…), found "220 mail.test' - "{\"port\":$port}"
    TIMEOUT=1s expect mail-access CRITICAL 'expected an IMAP greeting (* OK), found "220 mail.test' - "{\"protocol\":\"imap\",\"port\":$port}"
    stop exim
    expect smtp CRITICAL 'connection refused' - "{\"port\":$port}"
    wrong_servers smtp
}

test_mail_access() {
    local imap imaps pop3 pop3s
    free_port imap; free_port imaps; free_port pop3; free_port pop3s
    start_dovecot "$imap" "$imaps" "$pop3" "$pop3s"
    expect mail-access OK 'IMAP ready' capabilities "{\"protocol\":\"imap\",\"port\":$imap,\"require\":[\"IDLE\",\"STARTTLS\"],\"expect_banner\":\"dovecot\"}"
    expect mail-access OK 'IMAP ready' cert_days "{\"protocol\":\"imap\",\"port\":$imap,\"tls\":\"starttls\",\"server_name\":\"localhost\",\"require\":[\"AUTH=PLAIN\"]}"
    expect mail-access OK 'IMAP ready' tls_ms "{\"protocol\":\"imap\",\"port\":$imaps,\"tls\":\"implicit\"}"
    expect mail-access OK 'POP3 ready' capabilities "{\"protocol\":\"pop3\",\"port\":$pop3,\"require\":[\"UIDL\",\"STLS\"]}"
    expect mail-access OK 'POP3 ready' cert_days "{\"protocol\":\"pop3\",\"port\":$pop3,\"tls\":\"starttls\"}"
    expect mail-access OK 'POP3 ready' tls_ms "{\"protocol\":\"pop3\",\"port\":$pop3s,\"tls\":\"implicit\"}"
    expect mail-access CRITICAL 'does not offer X-NONE' - "{\"protocol\":\"imap\",\"port\":$imap,\"require\":[\"X-NONE\"]}"
    expect mail-access CRITICAL 'expected a POP3 greeting (+OK), found "* OK' - "{\"protocol\":\"pop3\",\"port\":$imap}"
    expect mail-access CRITICAL 'expected an IMAP greeting (* OK), found "+OK' - "{\"protocol\":\"imap\",\"port\":$pop3}"
    local good='"user":"probe","password_secret":"good"' wrong='"user":"probe","password_secret":"wrong"' protocol port
    for protocol in imap pop3; do
        expect_login mail-access OK ', 0 messages' messages=0 "{\"protocol\":\"$protocol\",\"port\":${!protocol},$good}"
        expect_login mail-access OK ', 0 messages' cert_days "{\"protocol\":\"$protocol\",\"port\":${!protocol},$good,\"tls\":\"starttls\",\"server_name\":\"localhost\"}"
        expect_login mail-access CRITICAL 'refuses the login: ' - "{\"protocol\":\"$protocol\",\"port\":${!protocol},$wrong}"
    done
    expect tls-certificate OK 'localhost: 30' cert_days "{\"port\":$imap,\"starttls\":\"imap\"}"
    expect tls-certificate OK 'localhost: 30' cert_days "{\"port\":$pop3,\"starttls\":\"pop3\"}"
    stop dovecot
    expect mail-access CRITICAL 'connection refused' - "{\"protocol\":\"imap\",\"port\":$imap}"
    wrong_servers mail-access ',"protocol":"imap"'
    wrong_servers mail-access ',"protocol":"pop3"'
}
