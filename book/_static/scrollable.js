// What scrolls sideways can be reached by keyboard: wide code, output and tables, also once a fold is opened.
{
    const update = () => {
        for (const region of document.querySelectorAll("article pre, article table")) {
            if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
            else region.removeAttribute("tabindex");
        }
    };
    // After the theme, which looks at the code of a page once and takes folded code for short.
    const later = () => setTimeout(update, 400);
    for (const moment of ["load", "resize", "click"]) addEventListener(moment, later);
    addEventListener("toggle", later, true);
}
