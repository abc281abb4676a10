// select2 makes a field to search in without a name: it gets that of the field it searches for.
(() => {
  const name = () => {
    for (const search of document.querySelectorAll(".select2-search__field:not([aria-label])")) {
      const select = search.closest(".select2-container")?.previousElementSibling;
      const label = select?.id && document.querySelector(`label[for="${CSS.escape(select.id)}"]`);
      if (label) search.setAttribute("aria-label", label.textContent.trim());
    }
  };
  window.addEventListener("load", () => {
    name();
    new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  });
})();
