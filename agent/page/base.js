'use strict';
/*
 * The status page. It asks GET /v1/snapshot once a second and draws what comes. All text is set as text, never as
 * HTML. base.js: elements, and how numbers are written.
 */
const PAGE = {};

(() => {
	const SVG = 'http://www.w3.org/2000/svg';

	function fill(node, attributes, children) {
		for (const [name, value] of Object.entries(attributes || {}))
			if (value !== null && value !== undefined)
				node.setAttribute(name, value);
		for (const child of children.flat())
			if (child !== null && child !== undefined && child !== '')
				node.append(child instanceof Node ? child : document.createTextNode(String(child)));
		return node;
	}

	PAGE.el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
	PAGE.svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
	PAGE.at = (selector) => document.querySelector(selector);

	/* Three digits, and a unit of 1024. */
	PAGE.bytes = (n) => {
		if (n === null || n === undefined)
			return '–';
		const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
		let i = 0;
		for (; Math.abs(n) >= 1000 && i < units.length - 1; i++)
			n /= 1024;
		const digits = i === 0 || Math.abs(n) >= 100 ? 0 : Math.abs(n) >= 10 ? 1 : 2;
		return n.toFixed(digits) + ' ' + units[i];
	};

	PAGE.duration = (ms) => {
		if (ms === null || ms === undefined)
			return '–';
		const s = ms / 1000;
		if (ms < 10)
			return ms.toFixed(1) + ' ms';
		if (ms < 1000)
			return Math.round(ms) + ' ms';
		if (s < 60)
			return s.toFixed(s < 10 ? 1 : 0) + ' s';
		if (s < 3600)
			return Math.floor(s / 60) + ' min ' + Math.round(s % 60) + ' s';
		if (s < 172800)
			return Math.floor(s / 3600) + ' h ' + Math.round(s % 3600 / 60) + ' min';
		return Math.round(s / 86400) + ' days';
	};

	const two = (n) => String(n).padStart(2, '0');
	PAGE.clock = (ms) => {
		const d = new Date(ms);
		return two(d.getHours()) + ':' + two(d.getMinutes()) + ':' + two(d.getSeconds());
	};
	PAGE.moment = (ms) => {
		if (!ms)
			return '–';
		const d = new Date(ms);
		return d.getFullYear() + '-' + two(d.getMonth() + 1) + '-' + two(d.getDate()) + ' ' + PAGE.clock(ms);
	};

	/* How the end of a run looks. */
	PAGE.looks = {succeeded: 'good', rolled_back: 'warn', stuck: 'bad'};

	PAGE.list = (value) => Array.isArray(value) ? value : [];

	/* A table: columns are [title, function of the row, class]. */
	PAGE.table = (columns, rows) => PAGE.el('table', null,
		PAGE.el('thead', null, PAGE.el('tr', null,
			columns.map((c) => PAGE.el('th', {scope: 'col', class: c[2]}, c[0])))),
		PAGE.el('tbody', null, rows.map((row) => PAGE.el('tr', null,
			columns.map((c) => PAGE.el('td', {class: c[2]}, c[1](row)))))));

	/*
	 * Draws a section again if what it shows is another: what a reader has selected in it stays. The width counts,
	 * too: drawings are made for it. Nothing to show hides it.
	 */
	const shown = {};
	PAGE.section = (id, data, draw) => {
		const section = PAGE.at('#' + id);
		const key = JSON.stringify([data, document.documentElement.clientWidth]);
		if (shown[id] === key)
			return;
		shown[id] = key;
		section.hidden = data === null;
		if (data !== null)
			draw(section, data);
	};
})();
