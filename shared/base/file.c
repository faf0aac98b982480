#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int is_shown(const struct dirent *entry);

enum status file_read(const char *path, char *room, size_t size, struct span *ret, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), cause = errno;
    ssize_t n = fd < 0 ? -1 : 1;
    size_t len = 0;

    while (n > 0 && len < size) {
        n = read(fd, room + len, size - len);
        cause = errno;
        len += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return err_set(err, INVALID, "file \"%s\": %s", path, strerrordesc_np(cause));
    if (len == size)
        return err_set(err, INVALID, "file \"%s\" is longer than %zu bytes", path, size - 1);
    *ret = (struct span){room, len};
    return OK;
}

enum status file_names(const char *folder, const char *suffix, struct arena *arena, const char ***ret,
                       size_t *nret, struct err *err)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, is_shown, alphasort);

    if (n < 0)
        return err_set(err, INVALID, "folder \"%s\": %s", folder, strerrordesc_np(errno));
    *ret = arena_alloc(arena, (size_t)n * sizeof(**ret) + 1);
    *nret = 0;
    for (int i = 0; i < n; i++) {
        struct span name = span_of(entries[i]->d_name), end = span_of(suffix);
        if (name.len > end.len && span_eq(span_skip(name, name.len - end.len), end))
            (*ret)[(*nret)++] = arena_copy(arena, name).at;
        free(entries[i]);
    }
    free(entries);
    return OK;
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}
