/*
 * probes: the monitor process: is the gateway alive, can it accept, what has it counted. Reads only the memory that
 * the processes share, so that it answers while every store is down.
 *
 *     /livez    200 while the loops of all processes have turned lately; /healthz is the same
 *     /readyz   200 while some ingest worker can store durably and no drain has begun; else 503
 *     /metrics  Prometheus text
 * The first two list their checks with ?verbose, one a line.
 */
#ifndef SETTLE_GATEWAY_PROBES_H
#define SETTLE_GATEWAY_PROBES_H

#include "role.h" /* monitor_run */

#endif
