// The ledger's filter: without this script every claim stands on the page.
(() => {
  const summary = document.querySelector('.ledger-summary');
  if (!summary) return; // Jupyter Book loads this script on every page
  const chapters = [...document.querySelectorAll('.ledger-chapter')].map(box => ({
    box, name: box.querySelector('p').textContent,
  }));
  const claims = chapters.flatMap(({box, name}) => [...box.querySelectorAll('.claim')].map(card => ({
    row: card.closest('li'), chapter: name, text: `${name} ${card.textContent}`.toLowerCase(), kinds: card.classList,
  })));
  const whole = summary.textContent.trim();
  const number = (kind, shown) => shown.filter(claim => claim.kinds.contains(kind)).length;

  const form = document.createElement('form');
  form.className = 'ledger-filter';
  form.setAttribute('role', 'search');
  form.setAttribute('aria-label', 'Filter the claims');
  const field = (label, control, name) => {
    control.name = name;
    control.className = control.tagName === 'SELECT' ? 'form-select' : 'form-control';
    const around = document.createElement('label');
    around.append(label, control);
    form.append(around);
    return control;
  };
  const choice = (label, name, options) => {
    const select = document.createElement('select');
    select.append(new Option('All', ''), ...options.map(([text, value]) => new Option(text, value)));
    return field(label, select, name);
  };
  const text = field('Text', Object.assign(document.createElement('input'), {type: 'text', autocomplete: 'off'}), 'text');
  const source = choice('Source', 'source', [['Paper', 'paper'], ['Added here', 'added']]);
  const verdict = choice('Verdict', 'verdict',
    [['Holds', 'holds'], ['Does not hold', 'does-not-hold'], ['Not run', 'not-run']]);
  const chapter = choice('Chapter', 'chapter', chapters.map(({name}) => [name, name]));

  const show = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = claims.filter(claim => words.every(word => claim.text.includes(word))
      && [source, verdict].every(({value}) => !value || claim.kinds.contains(value))
      && (!chapter.value || claim.chapter === chapter.value));
    claims.forEach(claim => { claim.row.hidden = !shown.includes(claim); });
    chapters.forEach(({box}) => { box.hidden = !box.querySelector('li:not([hidden])'); });
    summary.textContent = shown.length === claims.length ? whole
      : `${shown.length} of ${claims.length} claims: ${number('paper', shown)} from the paper, ${number('added', shown)} added here; `
        + `${number('holds', shown)} hold, ${number('does-not-hold', shown)} do not hold, ${number('not-run', shown)} not run.`;
  };
  form.addEventListener('input', show);
  form.addEventListener('submit', event => event.preventDefault());
  summary.setAttribute('role', 'status');
  summary.before(form);
})();
