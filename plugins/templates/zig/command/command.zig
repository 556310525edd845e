//! The same judgement as a WASI command: no bindings, only standard streams.
//!
//! The engine fetches the page (`input:` on the check) and hands the answer to
//! standard input. The program follows the monitoring-plugins convention: one
//! line `STATE - text | metrics` and an exit code from 0 (ok) to 3 (unknown).

const std = @import("std");

pub fn main(init: std.process.Init) !u8 {
    // The first argument is text that the body must contain.
    const arguments = try init.minimal.args.toSlice(init.arena.allocator());
    const wanted: []const u8 = if (arguments.len > 1) arguments[1] else "";

    var out_buffer: [1024]u8 = undefined;
    var output = std.Io.File.stdout().writer(init.io, &out_buffer);
    const out = &output.interface;
    defer out.flush() catch {};

    var in_buffer: [4096]u8 = undefined;
    var source = std.Io.File.stdin().reader(init.io, &in_buffer);
    const input = source.interface.allocRemaining(init.gpa, .limited(1 << 20)) catch |why| {
        try out.print("UNKNOWN - cannot read standard input: {t}\n", .{why});
        return 3;
    };
    defer init.gpa.free(input);

    // With a status line it is a whole answer, otherwise a body alone.
    var status: u16 = 200;
    var body: []const u8 = input;
    if (std.mem.startsWith(u8, input, "HTTP/")) {
        if (std.mem.cutScalar(u8, input, ' ')) |parts| {
            if (parts[1].len >= 3) status = std.fmt.parseInt(u16, parts[1][0..3], 10) catch 0;
        }
        if (std.mem.cut(u8, input, "\r\n\r\n")) |parts| body = parts[1];
    }

    if (status != 200) {
        try out.print("CRITICAL - HTTP {d}, expected 200 | size_bytes={d}B\n", .{ status, body.len });
        return 2;
    }
    if (std.mem.find(u8, body, wanted) == null) {
        try out.print("CRITICAL - the body lacks \"{s}\" | size_bytes={d}B\n", .{ wanted, body.len });
        return 2;
    }
    try out.print("OK - {d} bytes as expected | size_bytes={d}B\n", .{ body.len, body.len });
    return 0;
}
