#include "facts.h"

enum status facts_read(struct session *s, enum sql sql, const struct pg_args *args, json_t **ret,
                       struct err *err)
{
    struct pg_rows *rows;
    bool found;

    *ret = NULL;
    if (pg_run(s->pg, sql, args, WAIT_MS, &rows, err))
        return err->code;
    found = pg_nrows(rows) > 0;
    if (found) {
        struct span text = pg_bytes(rows, 0, 0);
        *ret = json_loadb(text.at, text.len, 0, NULL);
    }
    pg_rows_free(rows);
    return found && !*ret ? err_set(err, BROKEN, "%s: what it tells is no JSON", sql_texts[sql].name) : OK;
}

const char *facts_word(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

json_int_t facts_number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}
