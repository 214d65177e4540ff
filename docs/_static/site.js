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

// A formula that is wider than the page scrolls, so the keyboard must reach it.
window.addEventListener("load", () => {
  window.MathJax?.startup?.promise?.then(() => {
    document.querySelectorAll("mjx-container").forEach(formula => {
      if (formula.scrollWidth > formula.clientWidth + 1) formula.tabIndex = 0;
    });
  });
});
