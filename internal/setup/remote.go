package setup

import (
	"agent/backend"
	"agent/internal/config"
	"agent/tokenizer"
)

// remote are the settings of a model behind OpenAI's protocol.
type remote struct {
	backend.OpenAIConfig `yaml:",inline"`
	Tokenizer            string `yaml:"tokenizer"`
	Price                Price  `yaml:"price"`

	lengthNeeded bool // the server does not tell the context length
}

func (s *remote) common() *Common {
	return &Common{ModelID: s.ModelID, ContextLength: s.ContextLength, Tokenizer: s.Tokenizer,
		Sampling: s.Sampling, TokensMax: s.TokensMax, Price: s.Price, remote: true}
}

func (s *remote) check(in *section) error {
	if s.lengthNeeded && s.ContextLength == 0 {
		return notSet(in.Config, "llm.context_length",
			"is not set, and a FastChat server does not tell it")
	}
	return needModel(in.Config, s.ModelID)
}

// needModel refuses a section without the name of a model.
func needModel(cfg *config.Config, id string) error {
	if id == "" {
		return notSet(cfg, "llm.model_id", "is not set; it names the model")
	}
	return nil
}

// ready are the settings with what the host adds to them.
func (o *opener) ready(s *remote, decode func(any) error) (*backend.OpenAIConfig, error) {
	if err := decode(s); err != nil {
		return nil, err
	}
	c := s.OpenAIConfig
	c.Warn = o.Warn
	if s.Tokenizer != "" {
		t, err := tokenizer.Open(s.Tokenizer)
		if err != nil {
			return nil, err
		}
		c.Tokenizer = textTokenizer{t}
	}
	return &c, nil
}

// openAI speaks to OpenAI, and to servers that do as it does.
func (o *opener) openAI(decode func(any) error) (backend.LanguageBackend, error) {
	c, err := o.ready(&remote{}, decode)
	if err != nil {
		return nil, err
	}
	return backend.NewOpenAI(*c)
}

// fastChat speaks to a FastChat cluster.
func (o *opener) fastChat(decode func(any) error) (backend.LanguageBackend, error) {
	c, err := o.ready(&remote{lengthNeeded: true}, decode)
	if err != nil {
		return nil, err
	}
	return backend.NewFastChat(backend.FastChatConfig(*c))
}

// textTokenizer counts for remote backends with a model's own tokenizer.json.
type textTokenizer struct{ *tokenizer.Tokenizer }

// CountText implements backend.TextTokenizer.
func (t textTokenizer) CountText(text string) (int, error) {
	return t.Count(text, tokenizer.Options{})
}
