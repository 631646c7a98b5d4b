/*
 * safe_log.h: one line an event, in one write.
 *
 * printf keeps text in a buffer. fork copies that buffer, so the text can come out twice;
 * and a signal handler that calls printf can find it half-way through another printf.
 * safe_log has no buffer that outlives the call, so neither can happen.
 */
#ifndef FORKLAB_SAFE_LOG_H
#define FORKLAB_SAFE_LOG_H

#include <netinet/in.h>

/*
 * Writes a line to stdout. It knows %d (int) and %s (string), cuts the line at 200 bytes,
 * leaves errno alone, and may be called in a signal handler.
 */
__attribute__((format(printf, 1, 2))) void safe_log(const char *format, ...);

/* Logs "client 127.0.0.1:40112 EVENT". Not for signal handlers. */
void log_client(const struct sockaddr_in *peer, const char *event);

#endif
