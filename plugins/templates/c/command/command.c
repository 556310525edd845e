/* The same judgement as a WASI command: no bindings, only standard streams.
 *
 * The engine fetches the page (`input:` on the check) and hands the answer to
 * standard input. The program follows the monitoring-plugins convention: one
 * line `STATE - text | metrics` and an exit code from 0 (ok) to 3 (unknown). */
#define _GNU_SOURCE /* memmem */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    /* The first argument is text that the body must contain. */
    const char *wanted = argc > 1 ? argv[1] : "";
    static char input[1 << 20];
    size_t length = fread(input, 1, sizeof input, stdin);
    if (ferror(stdin)) {
        printf("UNKNOWN - cannot read standard input\n");
        return 3;
    }

    /* With a status line it is a whole answer, otherwise a body alone. */
    const char *body = input;
    int status = 200;
    char *blank = memmem(input, length, "\r\n\r\n", 4);
    if (blank && sscanf(input, "HTTP/%*s %3d", &status) == 1) body = blank + 4;
    size_t size = length - (size_t)(body - input);

    if (status != 200) {
        printf("CRITICAL - HTTP %d, expected 200 | size_bytes=%zuB\n", status, size);
        return 2;
    }
    if (!memmem(body, size, wanted, strlen(wanted))) {
        printf("CRITICAL - the body lacks \"%s\" | size_bytes=%zuB\n", wanted, size);
        return 2;
    }
    printf("OK - %zu bytes as expected | size_bytes=%zuB\n", size, size);
    return 0;
}
