/* shim_control: what shim.c tells shim_preload.c, in a file that both map. */
#ifndef SETTLE_TESTS_SUPPORT_SHIM_CONTROL_H
#define SETTLE_TESTS_SUPPORT_SHIM_CONTROL_H

#include <stdatomic.h>
#include <stdint.h>

#define SHIM_VARIABLE "TEST_SHIM_FILE" /* SETTLE_... are settings */

struct shim_control {
    _Atomic int64_t wall_us, boot_us;
    _Atomic uint32_t names_delay_ms, names_fail, nnames;
    _Atomic uint32_t signal, signal_nth; /* signal 0: none; nth 0: before each send */
    _Atomic uint32_t era, nsends;        /* of the word, which changes while signal is 0 */
    char word[32];
};

#endif
