//! Small WASI programs as text.

/// Imports, a memory of one page and what most programs need: `$write` of a
/// piece of memory to a descriptor.
const PRELUDE: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func $write (param $fd i32) (param $at i32) (param $length i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $length))
        (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
"#;

/// A core module with this data at 1024 and this body of `_start`.
pub fn program(data: &str, body: &str) -> Vec<u8> {
    let escaped: String = data.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let text = format!(
        "(module {PRELUDE} (data (i32.const 1024) \"{escaped}\") (func (export \"_start\") {body}))"
    );
    wat::parse_str(text).unwrap()
}

/// Prints a text and exits with a code.
pub fn says(text: &str, code: i32) -> Vec<u8> {
    let body = format!(
        "(call $write (i32.const 1) (i32.const 1024) (i32.const {})) (call $exit (i32.const {code}))",
        text.len()
    );
    program(text, &body)
}

/// Copies standard input to standard output.
pub fn cat() -> Vec<u8> {
    program("", CAT)
}

pub const CAT: &str = r#"
    (block $end (loop $more
        (i32.store (i32.const 0) (i32.const 4096))
        (i32.store (i32.const 4) (i32.const 60000))
        (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br_if $end (i32.eqz (i32.load (i32.const 8))))
        (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 8)))
        (br $more)))
"#;

/// Prints its arguments, each with a zero byte behind it.
pub const ARGS: &str = r#"
    (drop (call $args_sizes (i32.const 16) (i32.const 20)))
    (drop (call $args (i32.const 2048) (i32.const 8192)))
    (call $write (i32.const 1) (i32.const 8192) (i32.load (i32.const 20)))
"#;

/// Prints its environment, each variable with a zero byte behind it.
pub const ENV: &str = r#"
    (drop (call $environ_sizes (i32.const 16) (i32.const 20)))
    (drop (call $environ (i32.const 2048) (i32.const 8192)))
    (call $write (i32.const 1) (i32.const 8192) (i32.load (i32.const 20)))
"#;

/// A component that exports `wasi:cli/run`, prints the text and then does
/// `body`: `(call $exit (i32.const …))` or the result of `run`, 0 for success.
pub fn component(text: &str, exit: &str, body: &str) -> Vec<u8> {
    let length = text.len();
    let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let text = format!(
        r#"(component
        (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
        (alias export $error "error" (type $e))
        (import "wasi:io/streams@0.2.0" (instance $streams
            (alias outer 1 $e (type $ea))
            (export "error" (type $eb (eq $ea)))
            (export "output-stream" (type $o (sub resource)))
            (type $se' (variant (case "last-operation-failed" (own $eb)) (case "closed")))
            (export "stream-error" (type $se (eq $se')))
            (export "[method]output-stream.blocking-write-and-flush"
                (func (param "self" (borrow $o)) (param "contents" (list u8)) (result (result (error $se)))))))
        (alias export $streams "output-stream" (type $out))
        (import "wasi:cli/stdout@0.2.0" (instance $stdout
            (alias outer 1 $out (type $oa))
            (export "output-stream" (type $ob (eq $oa)))
            (export "get-stdout" (func (result (own $ob))))))
        {exit}
        (core module $memory (memory (export "memory") 1) (data (i32.const 0) "{escaped}"))
        (core instance $mem (instantiate $memory))
        (alias core export $mem "memory" (core memory $mm))
        (core func $get (canon lower (func $stdout "get-stdout")))
        (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $mm)))
        (core module $m
            (import "h" "get" (func $get (result i32)))
            (import "h" "write" (func $write (param i32 i32 i32 i32)))
            (import "h" "exit" (func $exit (param i32)))
            (import "h" "memory" (memory 1))
            (func (export "run") (result i32)
                (call $write (call $get) (i32.const 0) (i32.const {length}) (i32.const 512))
                {body}))
        (core instance $i (instantiate $m (with "h" (instance
            (export "get" (func $get)) (export "write" (func $write))
            (export "exit" (func $exit)) (export "memory" (memory $mm))))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $instance (export "run" (func $run)))
        (export "wasi:cli/run@0.2.3" (instance $instance)))"#
    );
    wat::parse_str(text).unwrap()
}

/// `exit`, which tells success and failure only.
pub const EXIT: &str = r#"
    (import "wasi:cli/exit@0.2.0" (instance $exits (export "exit" (func (param "status" (result))))))
    (core func $exit (canon lower (func $exits "exit")))
"#;

/// `exit-with-code`.
pub const EXIT_WITH_CODE: &str = r#"
    (import "wasi:cli/exit@0.2.12" (instance $exits (export "exit-with-code" (func (param "status-code" u8)))))
    (core func $exit (canon lower (func $exits "exit-with-code")))
"#;
