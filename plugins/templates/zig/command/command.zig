//! The same judgement as a WASI command: no bindings, only standard streams.
//!
//! The engine fetches the page (`input:` on the check), hands the body to
//! standard input and tells the rest in the environment. The program follows the
//! monitoring-plugins convention: one line `STATE - text | metrics` and an exit
//! code from 0 (ok) to 3 (unknown).

const std = @import("std");

pub fn main(init: std.process.Init) !u8 {
    const arena = init.arena.allocator();
    // The first argument is text that the body must contain.
    const arguments = try init.minimal.args.toSlice(arena);
    const wanted: []const u8 = if (arguments.len > 1) arguments[1] else "";
    const status = init.environ_map.get("HTTP_STATUS") orelse "200";

    var out_buffer: [1024]u8 = undefined;
    var output = std.Io.File.stdout().writer(init.io, &out_buffer);
    const out = &output.interface;
    defer out.flush() catch {};

    var in_buffer: [4096]u8 = undefined;
    var source = std.Io.File.stdin().reader(init.io, &in_buffer);
    const body = source.interface.allocRemaining(arena, .limited(2 << 20)) catch |why| {
        try out.print("UNKNOWN - cannot read standard input: {t}\n", .{why});
        return 3;
    };

    const latency = if (init.environ_map.get("TIME_TOTAL_MS")) |ms|
        try std.fmt.allocPrint(arena, " latency={s}ms", .{ms})
    else
        "";
    if (!std.mem.eql(u8, status, "200")) {
        try out.print("CRITICAL - HTTP {s}, expected 200 | size={d}B{s}\n", .{ status, body.len, latency });
        return 2;
    }
    if (std.mem.find(u8, body, wanted) == null) {
        try out.print("CRITICAL - the body lacks \"{s}\" | size={d}B{s}\n", .{ wanted, body.len, latency });
        return 2;
    }
    try out.print("OK - {d} bytes as expected | size={d}B{s}\n", .{ body.len, body.len, latency });
    return 0;
}
