#include "stream.h"

#include "answer.h"

#include <stdlib.h>
#include <sys/socket.h>

enum { PIECE_MS = 60000, HTTP_1_1 = 0x101 };

struct streams {
    h2o_loop_t *loop;
    h2o_timeout_t patience;
};

struct stream {
    h2o_generator_t super; /* first: h2o knows no other part */
    struct streams *streams;
    h2o_req_t *req;
    h2o_timeout_entry_t waiting; /* linked while a piece is under way */
    char *piece;                 /* owned; h2o borrows it until it asks for the next */
    struct stream_events events;
    bool is_taking; /* a piece that is not the last is under way */
};

static void on_gone(void *stream);
static void on_proceed(h2o_generator_t *self, h2o_req_t *req);
static void on_late(h2o_timeout_entry_t *waiting);
static int socket_of(const struct stream *s);

struct streams *streams_open(h2o_loop_t *loop)
{
    struct streams *streams = calloc(1, sizeof(*streams));

    if (!streams)
        abort();
    streams->loop = loop;
    h2o_timeout_init(loop, &streams->patience, PIECE_MS);
    return streams;
}

void streams_close(struct streams *streams)
{
    h2o_timeout_dispose(streams->loop, &streams->patience);
    free(streams);
}

struct stream *stream_open(struct streams *streams, h2o_req_t *req, const struct id *request_id,
                           const char *content_type, const struct stream_events *events)
{
    struct stream *s = h2o_mem_alloc_shared(&req->pool, sizeof(*s), on_gone);

    *s = (struct stream){
        .super = {on_proceed, NULL},
          .streams = streams, .req = req, .events = *events
    };
    s->waiting.cb = on_late;
    answer_head(req, request_id, 200, content_type, SIZE_MAX);
    if (req->version < HTTP_1_1)
        req->http1_is_persistent = 0; /* its end is the connection's */
    h2o_start_response(req, &s->super);
    return s;
}

/* With the request's pool, however it ended. */
static void on_gone(void *stream)
{
    struct stream *s = stream;

    h2o_timeout_unlink(&s->waiting);
    free(s->piece);
    if (s->is_taking)
        s->events.on_gone(s->events.ctx);
}

void stream_put(struct stream *s, struct span piece, bool is_last)
{
    h2o_iovec_t bytes = {.len = piece.len};

    free(s->piece);
    s->piece = bytes.base = malloc(piece.len + 1);
    if (!s->piece)
        abort();
    memcpy(s->piece, piece.at, piece.len);
    s->is_taking = !is_last;
    h2o_timeout_link(s->streams->loop, &s->streams->patience, &s->waiting);
    h2o_send(s->req, &bytes, piece.len > 0 ? 1 : 0,
             is_last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

/* Whom no chunks tell: a reset. */
void stream_break(struct stream *s)
{
    const struct linger at_once = {.l_onoff = 1};

    if (s->req->version < HTTP_1_1)
        (void)setsockopt(socket_of(s), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    h2o_send(s->req, NULL, 0, H2O_SEND_STATE_ERROR);
}

static void on_proceed(h2o_generator_t *self, h2o_req_t *req)
{
    struct stream *s = (struct stream *)self;

    (void)req;
    h2o_timeout_unlink(&s->waiting);
    s->is_taking = false;
    s->events.on_taken(s->events.ctx);
}

/* h2o is writing and cannot be told to stop; its socket can. */
static void on_late(h2o_timeout_entry_t *waiting)
{
    struct stream *s = H2O_STRUCT_FROM_MEMBER(struct stream, waiting, waiting);

    (void)shutdown(socket_of(s), SHUT_RDWR);
}

static int socket_of(const struct stream *s)
{
    return h2o_socket_get_fd(s->req->conn->callbacks->get_socket(s->req->conn));
}
