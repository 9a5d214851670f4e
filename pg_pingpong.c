/*
 * pg_pingpong.c - the module's front door: settings, shared memory, hooks and
 * the registration of the worker; nothing else.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"

#include "gate/closing.h"
#include "gate/hooks.h"
#include "gate/state.h"
#include "worker/guard.h"
#include "worker/news.h"
#include "worker/sight.h"
#include "worker/samples.h"
#include "worker/shared.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;

static void
request_shmem(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	gate_shmem_request();
	worker_shmem_request();
	samples_shmem_request();
	news_shmem_request();
	guard_shmem_request();
	sight_shmem_request();
}

static void
start_shmem(void)
{
	if (previous_shmem_startup)
		previous_shmem_startup();
	gate_shmem_startup();
	worker_shmem_startup();
	samples_shmem_startup();
	news_shmem_startup();
	guard_shmem_startup();
	sight_shmem_startup();
}

static void
define_gate_settings(void)
{
	DefineCustomBoolVariable("pingpong.bypass_gate",
							 "Lets this session write while the gate is closed, until the gate is being sealed.",
							 NULL,
							 &gate_bypass,
							 false,
							 PGC_SUSET,
							 GUC_NO_RESET_ALL,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("pingpong.hold_timeout",
							"Time after which a closed gate opens by itself, unless it is sealed.",
							NULL,
							&gate_hold_timeout,
							60 * 1000,
							100,
							24 * 60 * 60 * 1000,
							PGC_SUSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
}

void
_PG_init(void)
{
	/*
	 * Loaded late (CREATE EXTENSION without preloading) there is no shared
	 * memory to be had; gate_require_shmem() tells who calls a function. The
	 * servers that pg_upgrade starts for itself have no gate and no worker:
	 * the old one is sealed, and the new one is made.
	 */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;

	define_gate_settings();

	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shmem;

	gate_init();
	worker_init();
	MarkGUCPrefixReserved("pingpong");
}
