"""Console: the web application that ``tailrace console`` serves.

It is a client of the control plane like any other: it calls the gRPC API with the asyncio SDK,
holds no state, and sees what the visitor's token may see. Pages are rendered here and work without
JavaScript; htmx and one stream of events a page keep them up to date.

A page consists of

- ``pages/NAME.py`` with ``ROUTES``, listed in :mod:`tailrace.console.pages`, where a page for the
  navigation has a row, too. A handler takes the request, calls ``client(request)``, and returns
  ``render(request, "NAME.html", …)``. A failed call needs no handling: it becomes an error page.
- ``templates/NAME.html``, which extends ``base.html``. Values are escaped; the parts of the HTML
  report (bars, intervals, tables) are macros of ``report/parts.html``.
- ``static/NAME.js`` and ``static/NAME.css`` if it needs any. The content security policy allows
  scripts and styles from ``static/`` alone: no inline script, no ``style=``, no ``hx-on``. Scripts
  put data into a page with ``textContent`` and never build HTML.
- changes as ``change(path, handler)`` in ``ROUTES``: it checks the token against forged requests
  and passes the form. ``form`` macros of ``forms.html`` write the token into a form.
- live parts: ``event_response`` serves events; ``static/live.js`` turns each into a DOM event
  ``live:NAME`` on ``document``, which htmx takes as a trigger.
"""
