/* plots.js: curves over time, the steps of a run, the blackouts of earlier ones. */
(() => {
	const {svg, bytes, duration, clock, list} = PAGE;
	const KEPT_MS = 600000;		/* of the curves */

	/* ---- lag and retention ---- */

	const history = {lag: [], kept: []};

	PAGE.remember = (now, values) => {
		for (const kind of Object.keys(history)) {
			history[kind].push({at: now, values: values ? values[kind] : null});
			while (history[kind].length && history[kind][0].at < now - KEPT_MS)
				history[kind].shift();
		}
	};

	/* A number a little above, of one, two or five and zeros in powers of 1024. */
	function ceiling(value) {
		let unit = 1;
		while (value / unit >= 1000)
			unit *= 1024;
		for (const n of [1, 2, 5, 10, 20, 50, 100, 200, 500])
			if (n * unit >= value)
				return n * unit;
		return 1024 * unit;
	}

	function path(points, name, x, y) {
		let d = '';
		let before = null;
		for (const point of points) {
			const value = point.values && point.values[name];
			if (value === null || value === undefined)
				before = null;
			else {
				d += (before === null ? 'M' : 'L') + x(point.at).toFixed(1) + ',' + y(value).toFixed(1);
				before = value;
			}
		}
		return d;
	}

	/* The names stand at the ends of their curves, moved apart. */
	function labels(points, names, x, y) {
		const last = points[points.length - 1];
		const placed = names.map((name, i) => ({name, i, value: last && last.values ? last.values[name] : null}))
			.filter((l) => l.value !== null && l.value !== undefined).map((l) => ({...l, y: y(l.value) + 4}))
			.sort((a, b) => a.y - b.y);
		for (let i = placed.length - 2; i >= 0; i--)
			placed[i].y = Math.min(placed[i].y, placed[i + 1].y - 15);
		return placed.map((l) => svg('text', {class: 'small series' + l.i % 5, x: x + 6, y: l.y},
			l.name + '  ' + bytes(l.value)));
	}

	PAGE.curve = (id, kind, now) => {
		const points = history[kind];
		const names = [...new Set(points.flatMap((p) => Object.keys(p.values || {})))].sort();
		const section = PAGE.at('#' + id);
		section.hidden = names.length === 0;
		if (section.hidden)
			return;
		const at = section.querySelector('.drawing');
		const width = at.clientWidth || 500;
		const height = 132;
		const right = width - 14 - 7.2 * Math.max(...names.map((n) => n.length + 9));
		const top = ceiling(Math.max(1024, ...points.flatMap((p) => Object.values(p.values || {}))));
		const span = Math.max(30000, now - points[0].at);
		const x = (t) => 58 + (right - 58) * (1 - (now - t) / span);
		const y = (v) => height - 22 - (height - 32) * v / top;
		at.replaceChildren(svg('svg', {role: 'img', height, viewBox: `0 0 ${width} ${height}`,
			'aria-label': names.map((n) => n + ': ' + bytes((points[points.length - 1].values || {})[n])).join('; ')},
			svg('path', {class: 'axis', d: `M58,10 H${right} M58,${height - 22} H${right}`}),
			svg('text', {class: 'soft small', x: 50, y: 14, 'text-anchor': 'end'}, bytes(top)),
			svg('text', {class: 'soft small', x: 50, y: height - 18, 'text-anchor': 'end'}, '0'),
			svg('text', {class: 'soft small', x: 58, y: height - 4}, duration(span) + ' ago'),
			svg('text', {class: 'soft small', x: right, y: height - 4, 'text-anchor': 'end'}, 'now'),
			...names.map((name, i) => svg('path', {class: 'curve series' + i % 5, d: path(points, name, x, y)})),
			...labels(points, names, right, y)));
	};

	/* ---- a run ---- */

	const endOf = (step) => step.started_ms + (step.duration_ms || 0);

	/* From the first step that begins it to the end of the last that ends it; an open end is now. */
	function blackoutOf(steps, now, runs) {
		const begin = steps.filter((s) => s.mark === 'begins_blackout' && s.started_ms && s.state !== 'skipped');
		const end = steps.filter((s) => s.mark === 'ends_blackout' && s.started_ms && s.state !== 'skipped');
		if (!begin.length)
			return null;
		const from = Math.min(...begin.map((s) => s.started_ms));
		if (!runs)
			return {from, to: Math.max(from, ...steps.filter((s) => s.started_ms).map(endOf))};
		const done = end.length && end.every((s) => s.state === 'succeeded');
		return {from, open: !done, to: done ? Math.max(...end.map(endOf)) : now};
	}

	function stepRow(step, y, x, now, right) {
		const to = step.started_ms ? step.started_ms + (step.state === 'running' ? now - step.started_ms
			: step.duration_ms || 0) : null;
		const from = step.started_ms ? x(step.started_ms) : null;
		const end = to ? Math.max(x(to), from + 2) : null;
		const took = step.state === 'running' ? 'runs' : step.state === 'pending' ? ''
			: step.state !== 'succeeded' ? step.state : step.started_ms ? duration(step.duration_ms) : 'done';
		return svg('g', null,
			svg('text', {class: 'small' + (step.state === 'pending' ? ' soft' : ''), x: 0, y: y + 12},
				step.action, svg('tspan', {class: 'soft'}, '  ' + step.node)),
			from === null ? null : svg('rect', {class: 'bar ' + step.state, x: from, y: y + 3, width: end - from,
				height: 11, rx: 2}, svg('title', null, step.action + ' at ' + step.node + ': ' + step.state + ', '
				+ duration(step.duration_ms) + (step.message ? ', ' + step.message : ''))),
			svg('text', {class: 'small ' + (step.state === 'failed' ? 'bad' : 'soft'),
				x: end === null ? right : end + 60 > right ? from - 6 : end + 6, y: y + 12,
				'text-anchor': end === null || end + 60 > right ? 'end' : 'start'}, took));
	}

	function drawRun(at, steps, run, now, blackout) {
		const width = at.clientWidth || 600;
		const label = width < 500 ? 150 : 210;
		const moments = steps.filter((s) => s.started_ms);
		const first = Math.min(now, ...moments.map((s) => s.started_ms));
		const last = Math.max(first + 100, run.state === 'running' ? now : 0,
			...moments.map(endOf));
		const x = (t) => label + (width - label) * (t - first) / (last - first);
		const height = steps.length * 18 + 22;
		at.replaceChildren(svg('svg', {role: 'img', height, viewBox: `0 0 ${width} ${height}`,
			'aria-label': steps.map((s) => `${s.action} at ${s.node}: ${s.state}`).join('; ')},
			svg('path', {class: 'axis', d: `M${label},0 V${height - 18} H${width}`}),
			blackout && svg('rect', {class: 'blackout', x: x(blackout.from), y: 0, height: height - 18,
				width: Math.max(2, x(blackout.to) - x(blackout.from))}),
			blackout && svg('path', {class: 'blackout-line', d: `M${x(blackout.from)},0 V${height - 18}`}),
			svg('text', {class: 'soft small', x: label, y: height - 3}, clock(first)),
			svg('text', {class: 'soft small', x: width, y: height - 3, 'text-anchor': 'end'},
				'+ ' + duration(last - first)),
			...steps.map((step, i) => stepRow(step, i * 18, x, now, width))));
	}

	PAGE.run = (snapshot, now) => {
		const run = snapshot.run && snapshot.run.id ? snapshot.run : null;
		const known = run && list(snapshot.runs).find((r) => r.id === run.id);
		const steps = run ? list(run.steps).filter((s) => s.state !== 'skipped') : [];
		const running = run && run.state === 'running';
		PAGE.section('run', run && {run, known: known || null, now: running ? now : 0}, (section) => {
			section.classList.toggle('running', running);
			const blackout = blackoutOf(steps, now, running || run.state === 'succeeded');
			const measured = known && known.blackout_ms;
			section.querySelector('h2').replaceChildren((running ? 'Present run: ' : 'Last run: ')
				+ (known ? known.runbook + ' ' : '') + run.id
				+ (known ? ', ' + (known.source || '?') + ' → ' + known.target : ''));
			section.querySelector('.facts').replaceChildren(
				PAGE.el('strong', {class: PAGE.looks[run.state]}, run.state),
				blackout ? PAGE.el('span', {class: 'swatch'}) : '',
				measured ? 'blackout ' + duration(measured) : '',
				!measured && running && blackout ? 'blackout ' + (blackout.open ? 'since ' : 'over after ')
					+ duration(blackout.to - blackout.from) : '',
				run.sentence && run.sentence !== 'done' ? '. ' + run.sentence : '');
			drawRun(section.querySelector('.drawing'), steps, run, now, blackout);
		});
	};

	/* ---- earlier runs ---- */

	PAGE.blackouts = (at, runs) => {
		const moves = runs.filter((r) => r.blackout_ms !== null).reverse();
		if (!moves.length) {
			at.replaceChildren();
			return;
		}
		const width = at.clientWidth || 600;
		const height = 96;
		const top = Math.max(...moves.map((r) => r.blackout_ms));
		const step = Math.min(46, width / moves.length);
		const y = (ms) => 18 + (height - 36) * (1 - ms / top);
		at.replaceChildren(svg('svg', {role: 'img', height, viewBox: `0 0 ${width} ${height}`,
			'aria-label': 'blackouts: ' + moves.map((r) => `run ${r.id} ${duration(r.blackout_ms)}`).join('; ')},
			svg('path', {class: 'axis', d: `M0,${height - 18} H${width}`}),
			...moves.map((r, i) => svg('g', null,
				svg('rect', {class: 'bar ' + (r.state === 'succeeded' ? 'move' : r.state), x: i * step + 2,
					y: y(r.blackout_ms), width: Math.max(3, step - 8), height: height - 18 - y(r.blackout_ms), rx: 2},
				svg('title', null, `run ${r.id}: ${duration(r.blackout_ms)}, ${r.state}`)),
				step >= 40 ? svg('text', {class: 'small soft', x: i * step + step / 2 - 2, y: y(r.blackout_ms) - 4,
					'text-anchor': 'middle'}, Math.round(r.blackout_ms)) : null,
				step >= 24 ? svg('text', {class: 'small soft', x: i * step + step / 2 - 2, y: height - 4,
					'text-anchor': 'middle'}, r.id) : null))));
	};
})();
