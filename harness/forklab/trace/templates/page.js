"use strict";
const told = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const steps = told.steps;
steps.forEach((step, which) => {
	step.d = "x" in step; // it is drawn
	step.x ??= which > 0 ? steps[which - 1].x : told.left;
});
const rows = byId("events").tBodies[0].rows;
const slider = byId("number");
let number = 0; // of the event that is shown
let waiting = null; // the event that is to be shown when the question is answered

function element(name, text, kind) {
	const made = document.createElement(name);
	if (text !== undefined)
		made.textContent = text;
	if (kind)
		made.className = kind;
	return made;
}

// A text in both languages, of which the page shows one.
function words(key) {
	const made = element("span");
	const [english, korean] = told.words[key] || [key, key];
	const ko = element("span", korean, "ko");
	ko.lang = "ko";
	made.append(element("span", english, "en"), ko);
	return made;
}

// How everything stands after that event.
function momentAt(which) {
	const moment = { states: {}, tables: {}, signals: {} };
	for (const step of steps.slice(0, which + 1)) {
		Object.assign(moment.states, step.s);
		Object.assign(moment.tables, step.t);
		Object.assign(moment.signals, step.g);
	}
	return moment;
}

const zombiesAt = (which) =>
	Object.values(momentAt(which).states).filter((state) => state === "zombie").length;

const lines = (numbers) => (numbers || []).map((number) => told.lines[number]);

function list(shown, before) {
	const made = element("ul");
	for (const line of shown)
		made.append(element("li", line, before && !before.includes(line) ? "new" : ""));
	return made;
}

function showMoment(which) {
	const moment = momentAt(which);
	const before = which > 0 ? momentAt(which - 1) : null;
	const body = byId("moment").tBodies[0];
	const owners = new Map();
	body.replaceChildren();
	for (const [name, pid] of told.processes) {
		const state = moment.states[name] || "not yet";
		if (state === "not yet")
			continue;
		const row = body.insertRow();
		const head = element("th", `${name} `);
		head.scope = "row";
		head.append(element("span", pid, "soft"));
		row.append(head);
		const cell = element("td", undefined, state);
		cell.append(words(state));
		row.append(cell);
		const open = state !== "zombie" && state !== "gone";
		const had = before && lines(before.tables[name]);
		const table = open ? lines(moment.tables[name]) : [];
		row.insertCell().append(list(table, had));
		row.insertCell().append(list(open ? lines(moment.signals[name]) : []));
		for (const line of table) {
			const client = /^\d+ client (\d+)$/.exec(line)?.[1];
			if (client)
				owners.set(client, (owners.get(client) || new Set()).add(name));
		}
	}
	showOwners(owners);
}

// Whose descriptors lead to which client's connection.
function showOwners(owners) {
	const body = byId("owners").tBodies[0];
	body.replaceChildren();
	for (const [client, names] of owners) {
		const row = body.insertRow();
		const head = element("th", client);
		head.scope = "row";
		row.append(head, element("td", [...names].join(" + ")));
	}
	byId("owners").hidden = owners.size === 0;
}

function showSource(which) {
	const place = steps[which].p;
	byId("source").hidden = !place;
	if (!place)
		return;
	const [name, text] = told.files[place[0]];
	byId("file").textContent = `${name}:${place[1]}`;
	const pre = byId("source").querySelector("pre");
	pre.replaceChildren();
	text.split("\n").forEach((line, index) => {
		const shown = `${String(index + 1).padStart(4)}  ${line}`;
		const mark = index + 1 === place[1] ? element("mark", shown) : document.createTextNode(shown);
		pre.append(mark, "\n");
	});
	const mark = pre.querySelector("mark");
	if (mark)
		pre.scrollTop = mark.offsetTop - pre.offsetTop - pre.clientHeight / 2;
}

// Whom it happened to and what, as in the table.
function event(which) {
	const [, who, what] = rows[which].cells;
	return [`${who.textContent}  `, ...what.cloneNode(true).childNodes];
}

function show(which) {
	rows[number].classList.remove("now");
	number = which;
	rows[number].classList.add("now");
	slider.value = which;
	byId("now").replaceChildren(`${rows[which].cells[0].textContent} ms  `, ...event(which), " · ", words("zombies"), ` ${zombiesAt(which)}`);
	cursor.setAttribute("x1", steps[which].x);
	cursor.setAttribute("x2", steps[which].x);
	const box = byId("picture");
	const x = steps[which].x;
	if (x < box.scrollLeft + 40 || x > box.scrollLeft + box.clientWidth - 80)
		box.scrollLeft = x - box.clientWidth / 2;
	showMoment(which);
	showSource(which);
}

// Goes to that event, or asks first: only when it goes forward, and over one worth a question.
function go(which) {
	which = Math.max(0, Math.min(steps.length - 1, which));
	byId("answer").textContent = "";
	if (byId("predict").checked && steps.slice(number + 1, which + 1).some((step) => step.q)) {
		waiting = which;
		slider.value = number;
		byId("next").replaceChildren(...event(which));
		byId("question").hidden = false;
		byId("guess").value = "";
		byId("guess").focus();
		return;
	}
	byId("question").hidden = true;
	show(which);
	history.replaceState(null, "", `#e${which}`); // an address for this moment
}

function neighbour(direction) {
	let which = number + direction;
	if (byId("milestones").checked)
		while (which > 0 && which < steps.length - 1 && !steps[which].d)
			which += direction;
	return which;
}

// Goes where a pointer has pointed; from there the arrow keys lead on.
function jump(which) {
	slider.focus({ preventScroll: true });
	go(which);
}

const ways = {
	first: () => go(0),
	back: () => go(neighbour(-1)),
	on: () => go(neighbour(1)),
	last: () => go(steps.length - 1),
};

const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
const drawing = byId("picture").querySelector("svg");
cursor.setAttribute("class", "cursor");
cursor.setAttribute("y1", "0");
cursor.setAttribute("y2", drawing.viewBox.baseVal.height);
drawing.querySelector("text").before(cursor); // no word is behind it

byId("question").addEventListener("submit", (event) => {
	event.preventDefault();
	const there = zombiesAt(waiting);
	const right = Number(byId("guess").value) === there;
	byId("question").hidden = true;
	show(waiting);
	byId("answer").replaceChildren(words(right ? "yes" : "no"), ` ${there}`);
	slider.focus();
});
slider.addEventListener("input", () => go(Number(slider.value)));
for (const button of document.querySelectorAll("[data-go]"))
	button.addEventListener("click", ways[button.dataset.go]);
byId("events").addEventListener("click", (click) => {
	const row = click.target.closest("tbody tr");
	if (row)
		jump(Array.prototype.indexOf.call(rows, row));
});
drawing.addEventListener("click", (click) => {
	const x = click.clientX - drawing.getBoundingClientRect().left;
	let nearest = 0;
	steps.forEach((step, which) => {
		if (step.d && Math.abs(step.x - x) < Math.abs(steps[nearest].x - x))
			nearest = which;
	});
	jump(nearest);
});
document.addEventListener("keydown", (event) => {
	const key = { ArrowLeft: "back", ArrowRight: "on", Home: "first", End: "last" }[event.key];
	const elsewhere = event.target.closest("input[type=number], input[type=radio], .scroll, pre");
	if (!key || elsewhere || event.ctrlKey || event.altKey || event.metaKey)
		return;
	event.preventDefault();
	ways[key]();
});
// The names of the lines stay in sight where the picture is scrolled.
const names = [...drawing.querySelectorAll("text.end")].map((label) => [label, label.getAttribute("x")]);
drawing.append(...names.map(([label]) => label)); // before all that they come to stand on
byId("picture").addEventListener("scroll", () => {
	for (const [label, x] of names)
		label.setAttribute("x", Math.max(x, byId("picture").scrollLeft + 80));
});
if (window.innerWidth < 600) // there the legend would stand between the picture and the steps
	document.querySelector(".legend").open = false;
document.body.classList.add("stepping");
byId("stepper").hidden = false;
const asked = /^#e(\d+)$/.exec(location.hash);
if (/^ko/.test(navigator.language))
	byId("ko").checked = true;
show(asked ? Math.min(steps.length - 1, Number(asked[1])) : 0);
