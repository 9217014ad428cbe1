"""Words to segment with: classes and their synonyms, prompt templates, the benchmarks' tables."""

from frozenseg.vocab.templates import get_templates
from frozenseg.vocab.vocabulary import Vocabulary, VocabularyClass, seen_classes

__all__ = ["Vocabulary", "VocabularyClass", "get_templates", "seen_classes"]
