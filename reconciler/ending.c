#include "ending.h"

#include <string.h>

const char *ending_outcome(const struct session *s, const struct err *err)
{
    if (err->code && err->cause &&
        (strcmp(err->cause, "lock_held") == 0 || strcmp(err->cause, "fence_lost") == 0))
        return err->cause;
    if (session_stopping())
        return "interrupted";
    if (err->code)
        return "failed";
    return s->options->dry_run ? "dry_run" : "done";
}

enum status ending_write(struct session *s, const struct ending *end, struct err *err)
{
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &s->options->run_id);
    pg_arg_text(&args, end->success ? SPAN("success") : SPAN("failed"));
    pg_arg_text(&args, span_of(end->outcome));
    pg_arg_int(&args, end->nread);
    pg_arg_json(&args, end->report);
    pg_arg_text(&args, span_of(end->error_code));
    pg_arg_text(&args, end->message);
    return pg_run(s->pg, SQL_RUN_FINISH, &args, WAIT_MS, NULL, err);
}
