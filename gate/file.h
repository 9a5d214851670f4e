/*
 * file.h - small files in the data directory that must be whole, or not be there.
 */
#ifndef PINGPONG_GATE_FILE_H
#define PINGPONG_GATE_FILE_H

#include "port/pg_crc32c.h"

/* Writes a temporary file, and makes it durable. ERROR (with the SQLSTATE of the reason) if it could not. */
extern void gate_file_write_tmp(const char *name, const char *text, size_t len);

/* The same, then under its name, durable when this returns. Not for the blackout: it fsyncs more than it must. */
extern void gate_file_write(const char *name, const char *text, size_t len);

/* Of the text in front of its line crc=. */
extern pg_crc32c gate_file_checksum(const char *text, size_t len);

#endif
