/*
 * openapi: the description of the HTTP interface, ops/docs/openapi.yaml as it was at build.
 */
#ifndef SETTLE_GATEWAY_OPENAPI_H
#define SETTLE_GATEWAY_OPENAPI_H

#include "base/span.h"

extern const struct span openapi_text;

#endif
