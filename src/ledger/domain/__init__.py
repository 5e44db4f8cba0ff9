"""The rules of the law: organisations, petitions, signatures; dated terms and the calendar."""
