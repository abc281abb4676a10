// Says what a form will move before it moves it: "12.5 credits = $0.0125", and the same on its button. The server checks.
(() => {
  const form = document.querySelector("form[data-credits-per-usd]");
  const field = form?.querySelector("[name=amount]");
  const worth = form?.querySelector("[data-worth]");
  const button = form?.querySelector("button[type=submit]");
  if (!field || !worth || !button) return;
  const perUsd = Number(form.dataset.creditsPerUsd);
  const verb = form.dataset.verb;
  const usual = button.textContent.trim();

  const dollars = (credits) => {
    const value = credits / perUsd;
    return `$${value.toFixed(Math.abs(value) >= 1 ? 2 : 6).replace(/(\.\d\d\d*?)0+$/, "$1")}`;
  };

  const say = () => {
    const text = field.value.trim();
    if (!/^[+-]?\d+(\.\d*)?$/.test(text) || !Number(text)) {
      worth.textContent = text && !Number(text) ? "Write credits with a point and without commas or spaces, such as 1234.5." : "";
      button.textContent = usual;
      return;
    }
    const credits = Number(text);
    const size = text.replace(/^[+-]/, "");
    worth.textContent = perUsd ? `${size} credits = ${dollars(Math.abs(credits))}` : `${size} credits`;
    button.textContent = credits < 0 ? `Take ${size} credits away` : `${verb} ${size} credits`;
  };
  field.addEventListener("input", say);
  say();
})();
