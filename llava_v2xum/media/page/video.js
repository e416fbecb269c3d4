"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const spansOf = (element) => (element.dataset.spans || "").split(" ").filter(Boolean).map((span) => span.split("-").map(Number));
  const source = document.getElementById("source");
  const offset = source ? Number(source.dataset.offset) : 0;
  const slider = document.getElementById("seek");
  const unplayable = document.getElementById("unplayable");
  const lit = all("li[data-spans], button[data-spans]").map((element) => ({ element, spans: spansOf(element) }));
  const moment = 0.001; // seconds: what rounding takes

  const words = (seconds) => {
    const whole = Math.floor(seconds), rest = String(whole % 60).padStart(2, "0");
    return whole < 3600 ? `${Math.floor(whole / 60)}:${rest}`
      : `${Math.floor(whole / 3600)}:${String(Math.floor(whole / 60) % 60).padStart(2, "0")}:${rest}`;
  };

  const show = (second) => {
    slider.value = second;
    slider.setAttribute("aria-valuetext", words(second));
    for (const { element, spans } of lit) {
      const now = spans.some(([start, end]) => second > start - moment && second < end - moment);
      element.classList.toggle("now", now);
      if (now) element.setAttribute("aria-current", "true"); else element.removeAttribute("aria-current");
    }
  };

  // the clip shows its spans one behind the other
  const toSource = (spans, clipSecond) => {
    let left = clipSecond;
    for (const [start, end] of spans) {
      if (left < end - start - moment) return start + left;
      left -= end - start;
    }
    return spans.length ? spans[spans.length - 1][1] : 0;
  };
  const toClip = (spans, second) => {
    let before = 0;
    for (const [start, end] of spans) {
      if (second < end) return before + Math.max(second - start, 0);
      before += end - start;
    }
    return before;
  };

  const follow = (player, toSecond) => {
    const tell = () => show(Math.max(toSecond(player.currentTime), 0));
    const step = () => { tell(); if (!player.paused && !player.ended) requestAnimationFrame(step); };
    player.addEventListener("timeupdate", tell);
    player.addEventListener("seeking", tell);
    player.addEventListener("play", () => {
      all("video").forEach((other) => { if (other !== player) other.pause(); });
      step();
    });
  };

  const isPlayable = () => source && unplayable.hidden;
  const seek = (second, play) => {
    const clip = document.querySelector(".cut:not([hidden]) .clip");
    const player = isPlayable() ? source : clip;
    show(second);
    if (!player) return;
    // a little later, for a frame is seen from its own time on, which was rounded
    player.currentTime = moment + (player === source ? second + offset : toClip(spansOf(clip), second));
    if (play) player.play().catch(() => {}); // a browser may want a touch first
  };

  if (source) {
    follow(source, (second) => second - offset);
    const fail = () => { unplayable.hidden = false; };
    source.addEventListener("error", fail);
    if (source.error) fail();
  }
  for (const clip of all(".clip")) {
    const spans = spansOf(clip);
    follow(clip, (second) => toSource(spans, second));
  }
  slider.addEventListener("input", () => seek(Number(slider.value), false));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-seek]");
    if (button) seek(Number(button.dataset.seek), true);
  });

  const tabs = all('[role="tab"]');
  const choose = (tab) => {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.dataset.task).hidden = !chosen;
      all(`.of-${other.dataset.task}`).forEach((one) => one.toggleAttribute("hidden", !chosen));
    }
  };
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: place + 1, ArrowLeft: place - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(tabs[to % tabs.length]);
      tabs[to % tabs.length].focus();
    });
  });
  if (tabs.length) {
    const asked = tabs.find((tab) => `#${tab.dataset.task}` === location.hash);
    choose(asked || tabs.find((tab) => tab.getAttribute("aria-selected") === "true"));
  }
  show(0);
})();
