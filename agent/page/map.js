/* map.js: who is primary, who streams from whom, where the routes point. */
(() => {
	const {svg, bytes, duration, list} = PAGE;
	const CARD = {w: 196, h: 76};
	const PILL = {w: 128, h: 40};
	const LAG_BYTES = PAGE.LAG_BYTES = 16 * 1024 * 1024;
	const LAG_MS = 5000;

	/* What this agent knows of how far a node is: words, and how good that is. */
	PAGE.lagOf = (name, snapshot, agent) => {
		const down = ['down', 'unknown'].includes(agent.role);
		const standby = list(snapshot.standbys).find((s) => s.name === name);
		const self = snapshot.server && snapshot.server.node === name;
		if (self && down)
			return {text: 'does not answer', state: 'bad'};
		if (self && snapshot.server.in_recovery) {
			const upstream = snapshot.server.upstream;
			const left = snapshot.server.not_replayed_bytes;
			if (!upstream || upstream.status !== 'streaming')
				return {text: 'does not stream', state: 'bad'};
			const behind = left > 0 ? bytes(left) + ' to replay' : 'level';
			return {text: behind, state: left > LAG_BYTES ? 'warn' : 'good', bytes: left};
		}
		if (!standby || snapshot.server.in_recovery && standby.state === null)
			return {text: 'not seen from here', state: 'idle'};
		if (standby.away_since_ms)
			return {text: 'away on purpose', state: 'idle'};
		if (standby.state === null)
			return {text: 'does not stream', state: 'bad'};
		const late = standby.behind_bytes > LAG_BYTES || standby.replay_lag_ms > LAG_MS;
		const delay = standby.replay_lag_ms > 0 ? ', ' + duration(standby.replay_lag_ms) : '';
		const text = standby.behind_bytes === 0 ? 'level' : bytes(standby.behind_bytes) + ' behind' + delay;
		return {text: standby.state === 'streaming' ? text : standby.state + ', ' + text,
			state: standby.state !== 'streaming' || late ? 'warn' : 'good', bytes: standby.behind_bytes};
	};

	/* The nodes with their places in the tree: the primary, its standbys, theirs. */
	function tree(snapshot) {
		const nodes = list(snapshot.nodes).filter((n) => n.kind === 'postgres');
		const primary = snapshot.primary && snapshot.primary.name;
		const out = [];
		function add(node, depth) {
			if (out.some((o) => o.name === node.name))
				return;
			const above = node.name === primary ? null : node.upstream || primary;
			out.push({...node, depth, above});
			nodes.filter((n) => n.name !== primary && (n.upstream || primary) === node.name)
				.forEach((n) => add(n, depth + 1));
		}
		nodes.filter((n) => n.name === primary).forEach((n) => add(n, 0));
		nodes.forEach((n) => add(n, primary ? 1 : 0));
		return {nodes: out, primary};
	}

	function card(node, x, y, w, view) {
		const role = node.name === view.primary ? 'primary'
			: node.name === view.self && (view.role === 'sealed' || view.role === 'guarded')
				? view.role : 'standby';
		const told = view.lag[node.name];
		const lag = role === 'standby' || told && told.state === 'bad' ? told : null;
		const look = lag && lag.state === 'bad' ? 'lost' : role !== 'standby' ? role
			: node.away_since_ms ? 'away' : '';
		return svg('g', null,
			svg('rect', {class: 'node ' + look, x, y, width: w, height: CARD.h, rx: 10}),
			svg('text', {class: 'strong', x: x + 14, y: y + 24}, node.name),
			svg('text', {class: 'soft', x: x + w - 14, y: y + 24, 'text-anchor': 'end'},
				view.primary || role !== 'standby' ? role : 'node'),
			svg('text', {class: 'soft small', x: x + 14, y: y + 43}, node.host + ':' + node.port),
			svg('text', {class: lag ? lag.state : 'soft', x: x + 14, y: y + 63},
				lag ? lag.text : node.name === view.self ? view.note : ''));
	}

	function arrow(path, x, y, state) {
		return svg('g', null, svg('path', {class: 'edge ' + state, d: path}),
			svg('path', {class: 'head ' + state, d: `M${x},${y} l-8,-5 l0,10 Z`}));
	}

	const bend = (x1, y1, x2, y2) =>
		`M${x1},${y1} C${(x1 + x2) / 2},${y1} ${(x1 + x2) / 2},${y2} ${x2 - 8},${y2}`;

	function pill(route, x, y) {
		return svg('g', null, svg('rect', {class: 'pill', x, y, width: PILL.w, height: PILL.h, rx: 20}),
			svg('text', {x: x + 16, y: y + 25}, route.name),
			svg('text', {class: 'soft small', x: x + PILL.w - 16, y: y + 25, 'text-anchor': 'end'}, route.kind));
	}

	/* Columns: routes, the primary, its standbys, theirs; routes of a standby behind it. */
	function wide(width, view) {
		const place = {};
		const depths = Math.max(1, ...view.nodes.map((n) => n.depth + 1));
		const left = view.routes.some((r) => !r.node || r.depth === 0) ? PILL.w + 56 : 0;
		const right = view.routes.some((r) => r.node && r.depth > 0) ? PILL.w + 56 : 0;
		const room = width - left - right - CARD.w;
		const step = depths > 1 ? Math.min(room / (depths - 1), CARD.w + 190) : 0;
		const tall = Math.max(1, ...view.nodes.map((n) => view.nodes.filter((o) => o.depth === n.depth).length));
		const height = Math.max(tall * (CARD.h + 22) - 22, 90,
			view.routes.filter((r) => !r.node || r.depth === 0).length * 52);
		const parts = [];
		const used = left + right + CARD.w + step * (depths - 1);
		const start = Math.max(0, (width - used) / 2) + left;
		for (const node of view.nodes) {
			const peers = view.nodes.filter((n) => n.depth === node.depth);
			const top = (height - peers.length * (CARD.h + 22) + 22) / 2;
			place[node.name] = {x: start + node.depth * step, y: top + peers.indexOf(node) * (CARD.h + 22)};
		}
		for (const node of view.nodes) {
			const to = place[node.name];
			const from = place[node.above];
			if (from) {
				const lag = view.lag[node.name];
				parts.push(arrow(bend(from.x + CARD.w, from.y + CARD.h / 2, to.x, to.y + CARD.h / 2), to.x,
					to.y + CARD.h / 2, lag ? lag.state : 'idle'));
			}
		}
		const near = view.routes.filter((r) => !r.node || r.depth === 0);
		near.forEach((route, i) => {
			const y = (height - near.length * 52 + 12) / 2 + i * 52;
			const to = place[route.node];
			parts.push(pill(route, start - left, y));
			if (to)
				parts.push(arrow(bend(start - left + PILL.w, y + PILL.h / 2, to.x, to.y + CARD.h / 2), to.x,
					to.y + CARD.h / 2, 'route'));
		});
		for (const route of view.routes.filter((r) => r.node && r.depth > 0)) {
			const to = place[route.node];
			const n = view.routes.filter((r) => r.node === route.node).indexOf(route);
			const x = to.x + CARD.w + 56;
			const y = to.y + CARD.h / 2 - PILL.h / 2 + n * 46;
			const end = {x: to.x + CARD.w, y: to.y + CARD.h / 2};
			parts.push(pill(route, x, y), svg('g', null,
				svg('path', {class: 'edge route', d: `M${x},${y + PILL.h / 2} L${end.x + 6},${end.y}`}),
				svg('path', {class: 'head route', d: `M${end.x},${end.y} l8,-5 l0,10 Z`})));
		}
		return {height, parts: parts.concat(view.nodes.map((n) =>
			card(n, place[n.name].x, place[n.name].y, CARD.w, view)))};
	}

	/* One below the other, a standby under what it streams from. */
	function narrow(width, view) {
		const parts = [];
		const place = {};
		let y = 0;
		for (const node of view.nodes) {
			const x = node.depth * 26;
			const routes = view.routes.filter((r) => r.node === node.name).map((r) => r.name + ' (' + r.kind + ')');
			const from = place[node.above];
			place[node.name] = {x, y};
			if (from) {
				const lag = view.lag[node.name];
				const mid = y + CARD.h / 2;
				const line = `M${from.x + 13},${from.y + CARD.h} L${from.x + 13},${mid} L${x - 6},${mid}`;
				parts.unshift(arrow(line, x, mid, lag ? lag.state : 'idle'));
			}
			parts.push(card(node, x, y, width - x, view));
			if (routes.length) {
				parts.push(svg('text', {class: 'soft small', x: x + 34, y: y + CARD.h + 17},
					'← routes ' + routes.join(', ')));
				y += 24;
			}
			y += CARD.h + 14;
		}
		return {height: Math.max(y - 14, 20), parts};
	}

	PAGE.map = (snapshot, agent) => {
		const {nodes, primary} = tree(snapshot);
		const lag = {};
		nodes.forEach((n) => {
			if (n.name !== primary || n.name === (snapshot.server && snapshot.server.node))
				lag[n.name] = PAGE.lagOf(n.name, snapshot, agent);
		});
		const depth = Object.fromEntries(nodes.map((n) => [n.name, n.depth]));
		const gate = snapshot.gate && snapshot.gate.state;
		const view = {nodes, primary, lag, self: snapshot.server && snapshot.server.node, role: agent.role,
			routes: list(snapshot.routes).map((r) =>
				({name: r.name, kind: r.kind, node: r.node, depth: depth[r.node]})),
			note: gate && gate !== 'open' ? 'gate: ' + gate + ', ' + snapshot.gate.held + ' wait'
				: snapshot.server ? 'timeline ' + snapshot.server.timeline : ''};
		PAGE.section('map', nodes.length ? view : null, (section) => {
			const at = section.querySelector('.drawing');
			const width = at.clientWidth || 600;
			const drawn = width < 660 ? narrow(width, view) : wide(width, view);
			const words = nodes.map((n) => n.name + (n.name === primary ? ' is the primary' : ': '
				+ (lag[n.name] ? lag[n.name].text : 'not known'))).join('; ');
			at.replaceChildren(svg('svg', {role: 'img', 'aria-label': words, height: drawn.height + 4,
				viewBox: `-2 -2 ${width + 4} ${drawn.height + 4}`}, ...drawn.parts));
		});
	};
})();
