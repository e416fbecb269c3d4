"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const body = document.querySelector("tbody");
  const rows = all("tr", body);
  const count = document.getElementById("count");
  const search = document.getElementById("search");
  const plain = (text) => text.normalize("NFKC").toLocaleLowerCase().replace(/\s+/g, " ").trim();
  const texts = rows.map((row) => plain(all(".name, .text p:not(.faint)", row).map((one) => one.textContent).join(" ")));

  const find = () => {
    const words = plain(search.value).split(" ").filter(Boolean);
    let found = 0;
    rows.forEach((row, place) => {
      row.hidden = !words.every((word) => texts[place].includes(word));
      found += !row.hidden;
    });
    count.textContent = words.length ? `${found} of ${rows.length}` : "";
  };
  search.addEventListener("input", find);

  const collator = new Intl.Collator(undefined, { numeric: true });
  all("th[aria-sort]").forEach((head) => {
    const column = head.cellIndex;
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      all("th[aria-sort]").forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.key;
      const isName = column === 1;
      const sorted = [...rows].sort((one, other) => (up ? 1 : -1)
        * (isName ? collator.compare(key(one), key(other)) : Number(key(one)) - Number(key(other))));
      body.append(...sorted);
    });
  });
  if (search.value) find(); // a browser may remember it
})();
