#include "wire.h"

#include "base/now.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void send_some(struct wire *wire);
static void receive_some(struct wire *wire);
static bool cut_answer(struct span *rest, int *ret_status);

void wire_open(struct wire *wire, const char *url, struct span out)
{
    wire_open_from(wire, "127.0.0.1", url, out);
}

void wire_open_from(struct wire *wire, const char *address, const char *url, struct span out)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(strrchr(url, ':') + 1, NULL, 10)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};

    *wire = (struct wire){.out = out};
    wire->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(wire->fd >= 0);
    assert_int_equal(inet_pton(AF_INET, address, &from.sin_addr), 1);
    assert_int_equal(bind(wire->fd, (const struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(wire->fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    wire->opened_us = now_boot_us();
}

void wire_close(struct wire *wire)
{
    close(wire->fd);
}

size_t wire_run(struct wire *const *wires, size_t n, double deadline_s)
{
    int64_t until_us = now_boot_us() + (int64_t)(deadline_s * (double)SECOND_US);
    size_t nopen = n;

    while (nopen > 0 && now_boot_us() < until_us)
        nopen = wire_look(wires, n, 20);
    return nopen;
}

size_t wire_look(struct wire *const *wires, size_t n, int wait_ms)
{
    struct pollfd *fds = calloc(n, sizeof(*fds));
    size_t nopen = 0;

    assert_non_null(fds);
    for (size_t i = 0; i < n; i++) {
        fds[i].fd = wires[i]->closed_us ? -1 : wires[i]->fd;
        fds[i].events = wires[i]->out.len > 0 ? POLLIN | POLLOUT : POLLIN;
    }
    (void)poll(fds, (nfds_t)n, wait_ms);
    for (size_t i = 0; i < n; i++) {
        if (fds[i].revents & POLLOUT)
            send_some(wires[i]);
        if (fds[i].revents & ~POLLOUT)
            receive_some(wires[i]);
        nopen += wires[i]->closed_us == 0;
    }
    free(fds);
    return nopen;
}

/* Whoever has closed need not be told the rest: reading shows it. */
static void send_some(struct wire *wire)
{
    ssize_t n = send(wire->fd, wire->out.at, wire->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n > 0)
        wire->out = span_skip(wire->out, (size_t)n);
    else if (errno != EAGAIN)
        wire->out = SPAN_NONE;
}

static void receive_some(struct wire *wire)
{
    ssize_t n = recv(wire->fd, wire->in + wire->in_len, sizeof(wire->in) - 1 - wire->in_len, MSG_DONTWAIT);

    if (n > 0)
        wire->in_len += (size_t)n;
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    wire->closed_us = now_boot_us();
    wire->reset = n < 0;
}

size_t wire_answers(const struct wire *wire, int ret[WIRE_ANSWERS_MAX])
{
    struct span rest = {wire->in, wire->in_len};
    size_t n = 0;

    while (n < WIRE_ANSWERS_MAX && cut_answer(&rest, &ret[n]))
        n += ret[n] >= 200;
    return n;
}

static bool cut_answer(struct span *rest, int *ret_status)
{
    const char *end = memmem(rest->at, rest->len, "\r\n\r\n", 4), *length;
    size_t head, body = 0;

    if (!end || !span_starts(*rest, SPAN("HTTP/1.")) || rest->len < 12)
        return false;
    head = (size_t)(end + 4 - rest->at);
    *ret_status = (int)strtol(rest->at + 9, NULL, 10);
    for (length = rest->at; length < end; length++)
        if (strncasecmp(length, "\r\ncontent-length:", 17) == 0)
            body = strtoul(length + 17, NULL, 10);
    *rest = span_skip(*rest, head + (body < rest->len - head ? body : rest->len - head));
    return true;
}
