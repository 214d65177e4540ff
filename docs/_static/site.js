// Filters of a table: rows stay whose data have every value that is chosen and every word typed.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("form.kdnb-filters").forEach(form => {
    const table = document.getElementById(form.dataset.table);
    const controls = [...form.querySelectorAll("[data-facet]")];
    const apply = () => {
      const rows = [...table.tBodies[0].rows];
      rows.forEach(row => {
        row.hidden = !controls.every(({ dataset, value }) =>
          dataset.facet === "words"
            ? value.toLowerCase().split(/\s+/).every(word => row.textContent.toLowerCase().includes(word))
            : !value || row.dataset[dataset.facet].split(", ").includes(value));
      });
      form.querySelector("output").textContent =
        `${rows.filter(row => !row.hidden).length} of ${rows.length} rows`;
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", event => event.preventDefault());
    apply();
  });
});

// A formula that is wider than the page scrolls by itself, also by the keyboard.
window.addEventListener("load", () => {
  const fit = () => document.querySelectorAll("mjx-container").forEach(formula => {
    const box = formula.closest("span.math") ?? formula;
    const room = box === formula ? formula.clientWidth : box.parentElement.clientWidth;
    const wide = (box === formula ? formula.scrollWidth : formula.offsetWidth) > room + 1;
    box.classList.toggle("kdnb-scrolls", wide);
    if (wide) box.tabIndex = 0; else box.removeAttribute("tabindex");
  });
  window.MathJax?.startup?.promise?.then(fit);
  if (window.MathJax) window.addEventListener("resize", fit);
});

// What Sphinx and its theme leave without a role or a name.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("dt.sig dl").forEach(list => {
    list.setAttribute("role", "list");
    [...list.children].forEach(parameter => parameter.setAttribute("role", "listitem"));
  });
  document.querySelectorAll(".bd-sidenav summary").forEach(summary => {
    const above = summary.closest("li")?.querySelector("a");
    summary.setAttribute("aria-label", `pages below ${above?.textContent.trim() ?? ""}`);
  });
});
