// Package models embeds the catalog of models that are known by a short name.
// The weights themselves lie beside this file, ignored by git.
package models

import _ "embed"

// Catalog is catalog.yaml: what each named model is, its pinned SHA-256, its
// licence and where it can be had. Package hub parses it.
//
//go:embed catalog.yaml
var Catalog []byte
