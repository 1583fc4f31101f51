// Package guide finds what a folder and the user say to agents: AGENTS.md files, and
// skills, which are folders with a SKILL.md that tells how one kind of work is done.
//
// [OfFolder] gives those of a project, [OfUser] the user's own skills.
//
// Promises: nothing outside of the named folders is read, and nothing large; what can't
// be used is a problem to tell, and no error.
package guide

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"agent/internal/bounded"
	"agent/internal/legible"
)

// Names of files and folders, as other agents have them too.
const (
	instructionsName = "AGENTS.md"
	skillName        = "SKILL.md"
	skillsFolder     = ".agents/skills"
	repository       = ".git"
)

// Bounds of what is read.
const (
	fileBytesMax     = 256 << 10
	foldersMax       = 32 // from the work dir up to the root of the repository
	skillsMax        = 64 // of one folder
	descriptionRunes = 1024
)

// Guides are the texts for agents that may join the context of a task.
type Guides struct {
	Instructions []Instructions // the outermost first
	Skills       []Skill
	Problems     []string // what of it can't be used
}

// Instructions are an AGENTS.md.
type Instructions struct {
	Path string // as it is shown: relative to the work dir
	Text string
}

// Skill is how one kind of work is done.
type Skill struct {
	Name, Description string
	Path              string // as it is shown
	Text              string // what stands below its head
}

// Any reports that there is something.
func (g Guides) Any() bool { return len(g.Instructions) > 0 || len(g.Skills) > 0 }

// Add puts more behind. A skill whose name is there already is left out.
func (g *Guides) Add(more Guides) {
	g.Instructions = append(g.Instructions, more.Instructions...)
	g.Problems = append(g.Problems, more.Problems...)
	for _, s := range more.Skills {
		if !slices.ContainsFunc(g.Skills, func(have Skill) bool { return have.Name == s.Name }) {
			g.Skills = append(g.Skills, s)
		}
	}
}

// Root is the top of the repository that a folder lies in, or the folder itself.
func Root(workDir string) string {
	dir := workDir
	for range foldersMax {
		if _, err := os.Lstat(filepath.Join(dir, repository)); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	return workDir
}

// OfFolder are the guides of a work dir and of the folders above it, up to the root of
// its repository. Of two skills with one name the nearer one counts.
func OfFolder(workDir string) Guides {
	var g Guides
	root := Root(workDir)
	for dir := workDir; ; dir = filepath.Dir(dir) {
		g.Add(ofOne(dir, shown(workDir, dir)))
		if dir == root {
			break
		}
	}
	slices.Reverse(g.Instructions)
	return g
}

// shown is a folder as a person in the work dir names it.
func shown(workDir, dir string) string {
	rel, err := filepath.Rel(workDir, dir)
	if err != nil {
		return dir
	}
	return rel
}

// ofOne are the guides of one folder. No link leads out of it.
func ofOne(dir, name string) Guides {
	var g Guides
	root, err := os.OpenRoot(dir)
	if err != nil {
		return g
	}
	defer root.Close()
	path := filepath.Join(name, instructionsName)
	read := func(p string) ([]byte, error) { return bounded.Within(root, p, fileBytesMax) }
	switch text, err := readText(read, instructionsName); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		g.problem(path, err)
	case strings.TrimSpace(text) != "":
		g.Instructions = append(g.Instructions, Instructions{path, text})
	}
	g.addSkills(root.FS(), filepath.Join(name, skillsFolder), func(p string) ([]byte, error) {
		return bounded.Within(root, filepath.Join(skillsFolder, p), fileBytesMax)
	}, skillsFolder)
	return g
}

// OfUser are the skills below a home folder. They are the user's: links are followed.
func OfUser(home string) Guides {
	var g Guides
	dir := filepath.Join(home, skillsFolder)
	g.addSkills(os.DirFS(home), filepath.Join("~", skillsFolder), func(p string) ([]byte, error) {
		return bounded.File(filepath.Join(dir, p), fileBytesMax)
	}, skillsFolder)
	return g
}

// addSkills reads each SKILL.md of a folder.
func (g *Guides) addSkills(files fs.FS, name string, read func(string) ([]byte, error),
	folder string,
) {
	entries, err := fs.ReadDir(files, folder)
	if err != nil {
		return // there are none
	}
	if len(entries) > skillsMax {
		g.Problems = append(g.Problems, fmt.Sprintf("%s has %d entries; %d are looked at", name,
			len(entries), skillsMax))
		entries = entries[:skillsMax]
	}
	for _, e := range entries {
		path := filepath.Join(e.Name(), skillName)
		text, err := readText(read, path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrInvalid) ||
			!e.IsDir() && e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		var s Skill
		if err == nil {
			s, err = parseSkill(text)
		}
		if err != nil {
			g.problem(filepath.Join(name, path), err)
			continue
		}
		s.Path = filepath.Join(name, path)
		g.Add(Guides{Skills: []Skill{s}})
	}
}

func (g *Guides) problem(path string, err error) {
	g.Problems = append(g.Problems, fmt.Sprintf("%s: %v", legible.OneLine(path), err))
}

func readText(read func(string) ([]byte, error), path string) (string, error) {
	data, err := read(path)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) && !errors.Is(err, fs.ErrNotExist) {
			err = at.Err
		}
		return "", err
	}
	text, _, ok := legible.Decode(data)
	if !ok {
		return "", errors.New("it is no text")
	}
	return text, nil
}

var validName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

const nameBytesMax = 64

// parseSkill reads a SKILL.md: a head in YAML between two lines of dashes, and text.
func parseSkill(text string) (Skill, error) {
	const line = "---\n"
	rest, ok := strings.CutPrefix(strings.ReplaceAll(text, "\r\n", "\n"), line)
	head, body, closed := strings.Cut(rest, "\n"+line)
	if !ok || !closed {
		return Skill{}, errors.New("it must begin with name and description between two lines of ---")
	}
	var fields struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
	}
	if err := yaml.NewDecoder(bytes.NewReader([]byte(head))).Decode(&fields); err != nil {
		return Skill{}, fmt.Errorf("its head is no YAML: %w", err)
	}
	s := Skill{
		Name:        fields.Name,
		Description: legible.OneLine(fields.Description),
		Text:        strings.TrimSpace(body),
	}
	switch {
	case !validName.MatchString(s.Name) || len(s.Name) > nameBytesMax:
		return s, fmt.Errorf("its name %q must be of a-z, 0-9 and single dashes, at most %d",
			legible.Line(s.Name, nameBytesMax), nameBytesMax)
	case s.Description == "":
		return s, errors.New("its description is missing")
	case len([]rune(s.Description)) > descriptionRunes:
		return s, fmt.Errorf("its description is longer than %d characters", descriptionRunes)
	case s.Text == "":
		return s, errors.New("nothing stands below its head")
	}
	return s, nil
}
