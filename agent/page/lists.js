/* lists.js: slots, routes, readiness, runs, alerts; and the sentence above all. */
(() => {
	const {el, svg, bytes, duration, moment, list, table} = PAGE;

	const plural = (n, one, many) => n + ' ' + (n === 1 ? one : many);
	const word = (text, state) => el('span', {class: 'mark ' + state}, text);

	/* How much of what it may keep a slot keeps. */
	function meter(slot) {
		if (slot.safe_bytes === null || slot.retained_bytes === null)
			return null;
		const share = slot.retained_bytes / Math.max(1, slot.retained_bytes + Math.max(0, slot.safe_bytes));
		return svg('svg', {class: 'meter', viewBox: '0 0 120 8', role: 'img',
			'aria-label': Math.round(share * 100) + ' % of what it may keep'},
			svg('rect', {class: 'track', width: 120, height: 8, rx: 4}),
			svg('rect', {class: 'bar ' + (share > 0.9 ? 'failed' : share > 0.6 ? 'rolled_back' : 'move'),
				width: Math.max(2, 120 * share), height: 8, rx: 4}));
	}

	function slotState(slot) {
		if (slot.wal_status === 'lost')
			return word('lost', 'bad');
		return slot.active ? word('active', 'good') : word('not in use', 'warn');
	}

	/* The nearer of its two ends. */
	function timeToFull(slot) {
		const ends = [[slot.limit_s, 'the limit'], [slot.disk_full_s, 'the disk is full']]
			.filter((e) => e[0] !== null).sort((a, b) => a[0] - b[0]);
		return ends.length ? duration(ends[0][0] * 1000) + ' to ' + ends[0][1] : '–';
	}

	PAGE.slots = (slots) => PAGE.section('slots', list(slots).length ? slots : null, (section) => {
		section.querySelector('.scroll').replaceChildren(table([
			['slot', (s) => s.name, 'name'],
			['of', (s) => s.node || s.type],
			['state', slotState],
			['keeps', (s) => bytes(s.retained_bytes), 'number'],
			['of what it may', (s) => meter(s) || el('span', {class: 'soft'}, 'no limit')],
			['growth', (s) => s.growth_bytes_per_s === null ? '–' : bytes(s.growth_bytes_per_s) + '/s', 'number'],
			['time left', timeToFull, 'plain'],
		], slots));
		section.querySelector('ul').replaceChildren(...slots.filter((s) => s.advice).map((s) =>
			el('li', null, el('strong', null, s.name), ': ' + s.advice)));
	});

	PAGE.routes = (routes) => PAGE.section('routes', list(routes).length ? routes : null, (section) => {
		section.querySelector('.scroll').replaceChildren(table([
			['route', (r) => r.name, 'name'],
			['kind', (r) => r.kind === 'rw' ? 'read-write' : 'read-only', 'plain'],
			['points to', (r) => r.node || el('span', {class: 'soft'}, 'no run has set it yet')],
			['databases', (r) => list(r.databases).join(', ')],
			['at', (r) => list(r.endpoints).map((e) => e.router + '/' + e.endpoint).join(', ')],
			['driver', (r) => r.driver, 'soft'],
		], routes));
	});

	const ready = (value) => value === true ? word('ready', 'good') : value === false ? word('blocked', 'bad')
		: word('not known', 'warn');

	/* Whether the primary could move there now. The ages change all the time: only what is shown is compared. */
	PAGE.readiness = (rows, redundancy) => {
		const copies = list(redundancy)[0];
		const picked = list(rows).map((r) => ({node: r.node, ready: r.ready, blocks: r.blocks, warnings: r.warnings,
			blackout_ms: r.blackout_ms, takes_ms: r.takes_ms, runs: r.estimated_from, checked_at: r.checked_at}));
		PAGE.section('readiness', picked.length ? [picked, copies ? copies.copies : null] : null, (section) => {
			section.querySelector('h2').replaceChildren('Readiness ', el('span', {class: 'more'}, copies
				? plural(copies.copies, 'node', 'nodes') + ' could take over now' : 'could the primary move now?'));
			section.querySelector('.scroll').replaceChildren(table([
				['to', (r) => r.node, 'name'],
				['now', (r) => ready(r.ready)],
				['what blocks it', (r) => r.blocks || '', 'wide'],
				['warnings', (r) => r.warnings === null ? '–' : r.warnings, 'number'],
				['blackout', (r) => r.blackout_ms === null ? '–' : 'about ' + duration(r.blackout_ms), 'number'],
				['takes', (r) => r.takes_ms === null ? '–' : 'about ' + duration(r.takes_ms), 'number'],
				['checked', (r) => r.checked_at ? moment(Date.parse(r.checked_at)) : 'never', 'plain'],
			], picked));
		});
	};

	PAGE.runs = (runs) => PAGE.section('runs', list(runs).length ? runs : null, (section) => {
		PAGE.blackouts(section.querySelector('.drawing'), runs);
		section.querySelector('h2').replaceChildren('Earlier runs ',
			el('span', {class: 'more'}, 'blackout in ms, by run'));
		section.querySelector('.scroll').replaceChildren(table([
			['run', (r) => r.id, 'number'],
			['what', (r) => r.runbook, 'name'],
			['from, to', (r) => (r.source || '?') + ' → ' + r.target, 'plain'],
			['began', (r) => moment(r.started_ms), 'plain'],
			['took', (r) => r.ended_ms ? duration(r.ended_ms - r.started_ms) : '–', 'number'],
			['blackout', (r) => duration(r.blackout_ms), 'number'],
			['state', (r) => word(r.state, PAGE.looks[r.state] || '')],
		], runs.slice(0, 8)));
	});

	PAGE.alerts = (alerts) => {
		const picked = list(alerts).map((a) => (
			{severity: a.severity, text: a.sentence || a.rule, remedy: a.remedy}));
		PAGE.section('alerts', picked.length ? picked : null, (section) => {
			section.querySelector('ul').replaceChildren(...picked.map((a) => el('li', {class: a.severity},
				word(a.severity, {critical: 'bad', warning: 'warn'}[a.severity] || 'soft'), ' ', a.text,
				el('span', {class: 'remedy'}, a.remedy || ''))));
		});
	};

	/* ---- the sentence ---- */

	function aboutStandbys(snapshot, agent) {
		const all = list(snapshot.standbys).filter((s) => !s.away_since_ms);
		if (snapshot.server.in_recovery) {
			const lag = PAGE.lagOf(snapshot.server.node, snapshot, agent);
			return [' This is ' + snapshot.server.node + ', a standby: ',
				el('span', {class: lag.state}, lag.text), '.'];
		}
		if (!all.length)
			return [el('span', {class: 'warn'}, ' It has no standby.')];
		const streaming = all.filter((s) => s.state === 'streaming');
		const behind = Math.max(0, ...streaming.map((s) => s.behind_bytes || 0));
		const good = streaming.length === all.length;
		return [' ', el('span', {class: good ? 'good' : 'bad'},
			good ? (all.length === 1 ? 'Its standby streams' : 'Its ' + all.length + ' standbys stream')
				: streaming.length === 0 ? 'No standby streams'
					: streaming.length + ' of ' + all.length + ' standbys stream'),
		streaming.length === 0 ? '' : el('span', {class: behind > PAGE.LAG_BYTES ? 'warn' : 'quiet'},
			behind === 0 ? ', level with it' : ', at most ' + bytes(behind) + ' behind'), '.'];
	}

	PAGE.summary = (snapshot, agent) => {
		const at = PAGE.at('#summary');
		const gate = snapshot.gate && snapshot.gate.state;
		let parts;
		if (snapshot.sealed)
			parts = [el('strong', null, agent.node), ' is sealed: it takes no writes any more',
				snapshot.gate && snapshot.gate.target ? ', ' + snapshot.gate.target + ' takes over.' : '.'];
		else if (snapshot.primary && snapshot.primary.name)
			parts = [el('strong', null, snapshot.primary.name), ' is the primary.',
				gate && gate !== 'open' ? [' ', el('span', {class: 'warn'}, 'The write gate is closed (' + gate + ', '
					+ plural(snapshot.gate.held, 'statement waits', 'statements wait') + ').')] : '',
				aboutStandbys(snapshot, agent)];
		else
			parts = [el('span', {class: 'warn'}, 'Who is the primary is not known here.')];
		at.replaceChildren(...fillable(parts));
	};

	function fillable(parts) {
		return parts.flat(3).filter((p) => p !== '');
	}
})();
