import unittest

from answers import answer


class Answers(unittest.TestCase):
    def test_page(self):
        self.assertEqual(answer("/"), "hello from Python\n")

    def test_others(self):
        self.assertEqual(answer("/x"), "no /x\n")
