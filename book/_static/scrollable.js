// What scrolls sideways can be reached by keyboard: wide code, output, tables and formulas. Each is measured once it is laid out, also when a fold opens; nothing is laid out for it.
{
    const measure = (region) => {
        if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
        else region.removeAttribute("tabindex");
    };
    const seen = new IntersectionObserver((entries) => {
        for (const { isIntersecting, target } of entries) if (isIntersecting) measure(target);
    }, { rootMargin: "1000000px" });
    const look = () => {
        seen.disconnect();
        for (const region of document.querySelectorAll("article pre, article table, article .scrolls")) seen.observe(region);
    };
    // After the theme, which looks at the code of a page once and takes folded code for short.
    for (const moment of ["load", "resize"]) addEventListener(moment, () => setTimeout(look, 400));
}
