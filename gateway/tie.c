#include "tie.h"

static void on_client_gone(void *back);

void tie_bind(struct tie *t, h2o_req_t *req)
{
    t->req = req;
    t->back = h2o_mem_alloc_shared(&req->pool, sizeof(struct tie *), on_client_gone);
    *t->back = t; /* tie_cut clears this when we finish first */
}

h2o_req_t *tie_cut(struct tie *t)
{
    h2o_req_t *req = t->req;

    if (t->back)
        *t->back = NULL;
    *t = (struct tie){NULL, NULL};
    return req;
}

static void on_client_gone(void *back)
{
    struct tie *t = *(struct tie **)back;

    if (t)
        *t = (struct tie){NULL, NULL};
}
