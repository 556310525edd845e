/* The same judgement as a WASI command: no bindings, only standard streams.
 *
 * The engine fetches the page (`input:` on the check), hands the body to
 * standard input and tells the rest in the environment. The program follows the
 * monitoring-plugins convention: one line `STATE - text | metrics` and an exit
 * code from 0 (ok) to 3 (unknown). */
#define _GNU_SOURCE /* memmem */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    /* The first argument is text that the body must contain. */
    const char *wanted = argc > 1 ? argv[1] : "";
    const char *status = getenv("HTTP_STATUS");
    const char *ms = getenv("TIME_TOTAL_MS");
    static char body[1 << 20]; /* the engine hands over no more */
    size_t size = fread(body, 1, sizeof body, stdin);
    if (ferror(stdin)) {
        printf("UNKNOWN - cannot read standard input\n");
        return 3;
    }

    char metrics[96];
    snprintf(metrics, sizeof metrics, ms ? "size=%zuB latency=%.32sms" : "size=%zuB", size, ms);
    if (status && strcmp(status, "200") != 0) {
        printf("CRITICAL - HTTP %s, expected 200 | %s\n", status, metrics);
        return 2;
    }
    if (!memmem(body, size, wanted, strlen(wanted))) {
        printf("CRITICAL - the body lacks \"%s\" | %s\n", wanted, metrics);
        return 2;
    }
    printf("OK - %zu bytes as expected | %s\n", size, metrics);
    return 0;
}
