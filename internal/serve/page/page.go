// Package page is what a browser sees of `agent serve`: one page to chat, to decide
// among options, and to have tasks worked on in a folder, whose calls the person at
// the page allows or refuses.
//
// The page is plain HTML, CSS and JavaScript in the binary. It talks to the same
// endpoints as other clients, and to those of [Tasks]. Its policy lets it load
// nothing from elsewhere, and text of models and files is only ever shown as text.
package page

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed static
var static embed.FS

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Static serves the page at / and its parts below /page/. They hold no secrets.
func Static() http.Handler {
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // the folder is embedded
	}
	parts := http.StripPrefix("/page/", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		if r.URL.Path == "/" {
			http.ServeFileFS(w, r, files, "page.html")
			return
		}
		parts.ServeHTTP(w, r)
	})
}
