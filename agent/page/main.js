/* main.js: asks once a second, and says so when nothing comes. */
(() => {
	const EACH_MS = 1000;
	const PATIENCE_MS = 5000;	/* for one answer */
	const {at, duration, clock, moment, list} = PAGE;
	let answer = null;			/* the last one, and when it came by our clock */
	let came = 0;
	let failedSince = null;
	let refused = false;
	let paused = false;

	/* By the agent's clock: ours may be another. */
	const agentNow = () => answer ? answer.agent.now_ms + (Date.now() - came) : Date.now();

	/* It is read aloud when it changes: not each second because of a duration. */
	function banner([text, detail]) {
		const place = at('#banner');
		if (place.firstChild.textContent !== text)
			place.firstChild.textContent = text;
		if (place.lastChild.textContent !== detail)
			place.lastChild.textContent = detail;
		place.hidden = text === '';
		document.body.classList.toggle('old-news', text !== '');
	}

	/* What stands between the reader and the present state, and more about it; "" if nothing does. */
	function trouble() {
		const news = answer && answer.news;
		const rest = answer && answer.snapshot ? ' What follows is of ' + moment(news.seen_ms) + '.' : '';
		if (refused)
			return ['The agent refuses this browser: log in again.' + rest, ''];
		if (failedSince !== null)
			return ['The agent does not answer since ' + clock(failedSince) + '.' + rest, ''];
		if (!answer)
			return ['', ''];
		if (!answer.agent.has_server)
			return ['This agent has no PostgreSQL beside it: look at the page of a node\'s agent.', ''];
		if (news.silent_since_ms)
			return ['The server of ' + answer.agent.node + ' does not answer since ' + clock(news.silent_since_ms)
				+ '.' + rest, news.problem];
		return ['', ''];
	}

	function drawHead() {
		const age = at('#age');
		const news = answer && answer.news;
		const old = !answer || failedSince !== null || !news.fresh;
		if (answer)
			at('#agent').textContent = 'agent of ' + answer.agent.node + ', ' + answer.agent.role;
		age.textContent = paused ? 'paused' : !answer ? 'asking the agent' : !news.seen_ms ? 'asking the server'
			: 'seen ' + clock(news.seen_ms) + (old ? ', ' + duration(agentNow() - news.seen_ms) + ' ago' : '');
		age.classList.toggle('old', Boolean(answer && old && news.seen_ms));
		document.title = (trouble()[0] ? '! ' : '') + (answer ? answer.agent.node + ' ' + answer.agent.role : '')
			+ ' – pg_pingpong';
		banner(trouble());
	}

	function pointsOf(snapshot) {
		const values = {lag: {}, kept: {}};
		for (const s of list(snapshot.standbys))
			if (s.behind_bytes !== null)
				values.lag[s.name] = s.behind_bytes;
		if (snapshot.server && snapshot.server.not_replayed_bytes !== null)
			values.lag[snapshot.server.node] = snapshot.server.not_replayed_bytes;
		for (const s of list(snapshot.slots))
			if (s.retained_bytes !== null)
				values.kept[s.node || s.name] = s.retained_bytes;
		return values;
	}

	/* While a server is sealed its journal is not read: what it said before is as good. */
	let journal = {};
	function completed(snapshot) {
		const kept = ['runs', 'routes', 'readiness', 'redundancy', 'alerts'];
		if (!snapshot.sealed)
			journal = Object.fromEntries(kept.map((k) => [k, snapshot[k]]));
		return {...journal, ...snapshot};
	}

	function drawAll() {
		drawHead();
		if (!answer || !answer.snapshot)
			return;
		const snapshot = completed(answer.snapshot);
		const now = answer.snapshot.at_ms + (answer.news.age_ms || 0);
		PAGE.summary(snapshot, answer.agent);
		PAGE.alerts(snapshot.alerts);
		PAGE.map(snapshot, answer.agent);
		PAGE.run(snapshot, now);
		PAGE.slots(snapshot.slots);
		PAGE.routes(snapshot.routes);
		PAGE.readiness(snapshot.readiness, snapshot.redundancy);
		PAGE.runs(snapshot.runs);
		PAGE.curve('lag', 'lag', Date.now());
		PAGE.curve('kept', 'kept', Date.now());
	}

	async function ask() {
		try {
			const response = await fetch(location.origin + '/v1/snapshot',
				{cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS)});
			refused = response.status === 401;
			if (!response.ok)
				throw new Error('status ' + response.status);
			answer = await response.json();
			came = Date.now();
			failedSince = null;
			PAGE.remember(came, answer.news.fresh ? pointsOf(answer.snapshot) : null);
		} catch (problem) {
			failedSince = failedSince === null ? Date.now() : failedSince;
			PAGE.remember(Date.now(), null);
		}
	}

	async function forever() {
		for (;;) {
			const began = Date.now();
			if (!paused) {
				await ask();
				drawAll();
			}
			await new Promise((resume) => setTimeout(resume, Math.max(50, EACH_MS - (Date.now() - began))));
		}
	}

	at('#pause').addEventListener('click', () => {
		paused = !paused;
		at('#pause').setAttribute('aria-pressed', String(paused));
		at('#pause').textContent = paused ? 'Go on' : 'Pause';
		drawHead();
	});
	window.addEventListener('resize', drawAll);
	forever();
})();
